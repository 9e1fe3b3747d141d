//! A program of the operator's that gets lines of JSON.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::EgressError;

/// Time that the program may take for one line.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A program with its arguments. It is started for each line anew, gets it on its standard
/// input, and has `PATH` in its environment and nothing else. What it writes goes nowhere.
/// When it is killed, so is what it started itself, unless that left its process group.
#[derive(Clone, Debug)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
}

impl Command {
    /// A program, looked for in `PATH`, and its arguments; none where the list is empty.
    pub fn new(command: &[String]) -> Option<Command> {
        let (program, arguments) = command.split_first()?;
        Some(Command {
            program: program.clone(),
            arguments: arguments.to_vec(),
        })
    }

    /// Runs it with one line, whose end is added, and waits for its end.
    ///
    /// # Errors
    /// When it can't be started, takes longer than ten seconds (it is killed then), or ends
    /// with a failure.
    pub async fn send(&self, line: &[u8]) -> Result<(), EgressError> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|error| EgressError::Later(self.says(&format!("can't be run: {error}"))))?;
        let mut group = Group::of(&child);
        let stdin = child.stdin.take();
        let work = async {
            if let Some(mut stdin) = stdin {
                // One that doesn't want to read it may end well nevertheless.
                let _ = stdin.write_all(line).await;
                let _ = stdin.write_all(b"\n").await;
            }
            child.wait().await
        };
        let ended = tokio::time::timeout(TIME_MAX, work).await;
        if ended.is_ok() {
            // Its number may be another's by now.
            group.0 = None;
        }
        match ended {
            Err(_) => {
                let secs = TIME_MAX.as_secs();
                let why = format!("took longer than {secs} s, and was killed");
                Err(EgressError::Later(self.says(&why)))
            }
            Ok(Err(error)) => Err(EgressError::Later(self.says(&error.to_string()))),
            Ok(Ok(status)) if !status.success() => {
                Err(EgressError::Later(self.says(&format!("failed: {status}"))))
            }
            Ok(Ok(_)) => Ok(()),
        }
    }

    fn says(&self, what: &str) -> String {
        format!("the program {} {what}", self.program)
    }
}

/// The processes of a program: killed when it is dropped.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group(id.and_then(rustix::process::Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It is there until it is waited for, ended or not.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}
