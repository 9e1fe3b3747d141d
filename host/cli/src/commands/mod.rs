//! The commands, a file for each.

mod add;
mod advisories;
mod audit;
mod build;
mod bus;
mod call;
mod check;
mod data;
mod doctor;
mod grant;
mod inbox;
mod init;
mod inspect;
mod install;
mod keys;
mod licences;
mod list;
mod logs;
mod outdated;
pub(crate) mod papers;
mod publish;
mod remove;
mod revoke;
mod rollback;
mod sbom;
mod secrets;
mod serve;
mod sign;
mod status;
mod update;

use clap::Subcommand;

use crate::context::Context;

/// What to do; each command says so itself.
#[derive(Subcommand)]
pub(crate) enum Command {
    Build(build::Build),
    Check(check::Check),
    Sign(sign::Sign),
    Publish(publish::Publish),
    Keys(keys::Keys),
    Inspect(inspect::Inspect),
    Licenses(licences::Licences),
    Sbom(sbom::Sbom),
    Advisories(advisories::Advisories),
    Init(init::Init),
    Add(add::Add),
    Install(install::Install),
    Outdated(outdated::Outdated),
    Update(update::Update),
    Rollback(rollback::Rollback),
    Grant(grant::Grant),
    Revoke(revoke::Revoke),
    Remove(remove::Remove),
    Secrets(secrets::Secrets),
    Data(data::Data),
    Bus(bus::Bus),
    List(list::List),
    Call(call::Call),
    Inbox(inbox::Inbox),
    Answer(inbox::Answer),
    Serve(serve::Serve),
    Status(status::Status),
    Logs(logs::Logs),
    Audit(audit::Audit),
    Doctor(doctor::Doctor),
}

impl Command {
    pub(crate) fn run(&self, context: &Context) -> anyhow::Result<()> {
        match self {
            Command::Build(command) => command.run(context),
            Command::Check(command) => command.run(context),
            Command::Sign(command) => command.run(context),
            Command::Publish(command) => command.run(context),
            Command::Keys(command) => command.run(context),
            Command::Inspect(command) => command.run(context),
            Command::Licenses(command) => command.run(context),
            Command::Sbom(command) => command.run(context),
            Command::Advisories(command) => command.run(context),
            Command::Init(command) => command.run(context),
            Command::Add(command) => command.run(context),
            Command::Install(command) => command.run(context),
            Command::Outdated(command) => command.run(context),
            Command::Update(command) => command.run(context),
            Command::Rollback(command) => command.run(context),
            Command::Grant(command) => command.run(context),
            Command::Revoke(command) => command.run(context),
            Command::Remove(command) => command.run(context),
            Command::Secrets(command) => command.run(context),
            Command::Data(command) => command.run(context),
            Command::Bus(command) => command.run(context),
            Command::List(command) => command.run(context),
            Command::Call(command) => command.run(context),
            Command::Inbox(command) => command.run(context),
            Command::Answer(command) => command.run(context),
            Command::Serve(command) => command.run(context),
            Command::Status(command) => command.run(context),
            Command::Logs(command) => command.run(context),
            Command::Audit(command) => command.run(context),
            Command::Doctor(command) => command.run(context),
        }
    }
}
