//! What a component exports of resources, prompts and completion, and how it is asked for them.

use portreeve_manifest::limits::Limits;
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};

use super::{Given, PAGE_MAX, Wanted};
use crate::answer;
use crate::bindings::exports::portreeve::content as exported;
use crate::error::{CallError, Error};
use crate::guest::Guest;
use crate::stopped;

const RESOURCES: &str = "portreeve:content/resources@0.1.0";
const PROMPTS: &str = "portreeve:content/prompts@0.1.0";
const COMPLETION: &str = "portreeve:content/completion@0.1.0";

/// The interfaces of content; every one of them is optional.
pub(crate) struct ContentExports {
    resources: Option<exported::resources::GuestIndices>,
    prompts: Option<exported::prompts::GuestIndices>,
    completion: Option<exported::completion::GuestIndices>,
}

impl ContentExports {
    pub(crate) fn new(
        component: &Component,
        instance: &InstancePre<Guest>,
    ) -> Result<ContentExports, Error> {
        let exports = |name: &str| component.get_export_index(None, name).is_some();
        let mismatch = |error: wasmtime::Error| Error::Mismatch(format!("{error:#}"));
        let resources = exports(RESOURCES)
            .then(|| exported::resources::GuestIndices::new(instance))
            .transpose()
            .map_err(mismatch)?;
        let prompts = exports(PROMPTS)
            .then(|| exported::prompts::GuestIndices::new(instance))
            .transpose()
            .map_err(mismatch)?;
        let completion = exports(COMPLETION)
            .then(|| exported::completion::GuestIndices::new(instance))
            .transpose()
            .map_err(mismatch)?;
        Ok(ContentExports {
            resources,
            prompts,
            completion,
        })
    }

    /// Asks for what is wanted.
    pub(crate) async fn ask(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        wanted: &Wanted,
        limits: &Limits,
    ) -> Result<Given, CallError> {
        let loading = |error: wasmtime::Error| CallError::internal(format!("{error:#}"));
        let resources = self.resources.as_ref();
        let resources = || resources.ok_or_else(|| super::not_exported("resources"));
        let prompts = self.prompts.as_ref();
        let prompts = || prompts.ok_or_else(|| super::not_exported("prompts"));
        /// What wasmtime gives, and what the plugin does.
        macro_rules! answered {
            ($answer:expr) => {
                match $answer {
                    Ok(Ok(given)) => given,
                    Ok(Err(failure)) => return Err(CallError::plugin(answer::failure(failure))),
                    Err(error) => return Err(stopped::explain(error, store, limits)),
                }
            };
        }
        match wanted {
            Wanted::Resources(cursor) => {
                let exported = resources()?.load(&mut *store, instance).map_err(loading)?;
                let cursor = cursor.as_deref();
                super::page(answered!(
                    exported
                        .call_list_resources(&mut *store, cursor, PAGE_MAX)
                        .await
                ))
            }
            Wanted::Templates => {
                let exported = resources()?.load(&mut *store, instance).map_err(loading)?;
                super::templates(&answered!(exported.call_list_templates(&mut *store).await))
            }
            Wanted::Read(uri) => {
                let exported = resources()?.load(&mut *store, instance).map_err(loading)?;
                let parts = answered!(exported.call_read_resource(&mut *store, uri).await);
                super::read(parts, limits)
            }
            Wanted::Prompts => {
                let exported = prompts()?.load(&mut *store, instance).map_err(loading)?;
                super::prompts(&answered!(exported.call_list_prompts(&mut *store).await))
            }
            Wanted::Prompt(name, arguments) => {
                let exported = prompts()?.load(&mut *store, instance).map_err(loading)?;
                let arguments = Value::Object(arguments.clone()).to_string();
                store.data_mut().bytes_in = arguments.len() as u64;
                let filled = exported.call_get_prompt(&mut *store, name, &arguments);
                super::filled(answered!(filled.await), limits)
            }
            Wanted::Completions(completing) => {
                let indices = self.completion.as_ref();
                let indices = indices.ok_or_else(|| super::not_exported("completion"))?;
                let exported = indices.load(&mut *store, instance).map_err(loading)?;
                let known = Value::Object(completing.known.clone()).to_string();
                let subject = super::subject(&completing.subject);
                let found = exported.call_complete(
                    &mut *store,
                    &subject,
                    &completing.argument,
                    &completing.value,
                    &known,
                );
                Ok(super::completions(answered!(found.await)))
            }
        }
    }
}
