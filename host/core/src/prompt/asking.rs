//! What one call tells people and asks of them: under the grants of that moment, within its
//! limits, on record.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::feature::Feature;
use portreeve_manifest::form::Form;
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    ErrorCode, Failure, Notice, NoticeLevel, ProgressReport, PromptSource, Reply,
};
use portreeve_state::StateError;
use portreeve_state::audit::AuditKind;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{CallerUi, Counted, Crowd, Prompts, Question};
use crate::call::ProgressListener;
use crate::project::MANIFEST;
use crate::scope::CallScope;

/// How often somebody at a client may give an answer that does not fit.
const TRIES_MAX: u32 = 3;

/// Longest part of a question that is recorded, in characters.
const RECORDED_CHARS_MAX: usize = 200;

/// What a call may tell and ask.
pub(crate) struct CallPrompt {
    scope: Arc<CallScope>,
    prompts: Arc<Prompts>,
    notices_a_minute: u32,
    questions_a_minute: u32,
    parked_calls: u32,
    ask_timeout: Duration,
    ui: CallerUi,
    progress: Option<Arc<dyn ProgressListener>>,
}

impl CallPrompt {
    pub(crate) fn new(
        scope: Arc<CallScope>,
        prompts: Arc<Prompts>,
        limits: &Limits,
        ui: CallerUi,
        progress: Option<Arc<dyn ProgressListener>>,
    ) -> CallPrompt {
        CallPrompt {
            scope,
            prompts,
            notices_a_minute: limits.notices_a_minute,
            questions_a_minute: limits.questions_a_minute,
            parked_calls: limits.parked_calls,
            ask_timeout: limits.ask_timeout,
            ui,
            progress,
        }
    }

    fn alias(&self) -> &str {
        &self.scope.plugin.alias
    }

    fn note(&self, kind: AuditKind, body: Map<String, Value>) {
        if let Err(error) = self.scope.audit.note(self.scope.event(kind, body)) {
            tracing::error!(%error, "what a plugin asks was not recorded");
        }
    }

    fn count(&self, what: Counted, some: u32) -> Result<(), Failure> {
        let (name, setting, allowed) = match what {
            Counted::Notices => ("notices", "notices-a-minute", self.notices_a_minute),
            Counted::Questions => ("questions", "questions-a-minute", self.questions_a_minute),
        };
        let alias = self.alias();
        self.prompts.count(alias, what, some, allowed).map_err(|wait| {
            self.note(AuditKind::Limit, body(json!({"setting": setting, "allowed": allowed})));
            let told = format!(
                "`{alias}` has more than {allowed} {name} a minute; the setting `{setting}` in its `limits` ([plugins.{alias}] in {}) raises it",
                self.scope.place()
            );
            Failure {
                retry_after: Some(wait),
                ..Failure::new(ErrorCode::RateLimited, &format!("limit-{setting}"), told)
            }
        })
    }

    fn state(&self, error: &StateError) -> Failure {
        let (plugin, call) = (self.alias(), &self.scope.call_id);
        tracing::warn!(plugin, call, %error, "the inbox can't be used");
        Failure::new(
            ErrorCode::Unavailable,
            "state",
            "this host can't use its inbox now; its log says why",
        )
    }

    /// Asks each where it belongs. Sensitive things are asked for where nothing but this host
    /// sees them.
    async fn replies(
        &self,
        forms: &[Form],
        record: &mut Record<'_>,
    ) -> Result<Vec<Reply>, Failure> {
        let at_client = |form: &Form| self.ui.asker.is_some() && !form.is_sensitive();
        let (mut there, mut here) = (Vec::new(), Vec::new());
        for (place, form) in forms.iter().enumerate() {
            if at_client(form) {
                there.push((place, form));
            } else {
                here.push((place, form));
            }
        }
        let asked_there = self.at_client(&there);
        let asked_here = try_join_all(here.iter().map(|(_, form)| self.in_inbox(form)));
        let (there_replies, here_replies) = futures::try_join!(asked_there, asked_here)?;
        let mut replies: Vec<(usize, Reply, &str, Arc<str>)> = Vec::new();
        for ((place, _), reply) in there.iter().zip(there_replies) {
            replies.push((*place, reply, "client", self.scope.caller.clone()));
        }
        for ((place, _), (reply, who)) in here.iter().zip(here_replies) {
            replies.push((*place, reply, "inbox", who));
        }
        replies.sort_by_key(|(place, ..)| *place);
        let each = replies.iter().map(
            |(_, reply, via, who)| json!({"outcome": reply.as_str(), "via": via, "by": &**who}),
        );
        record.outcome = Some(json!({"answers": each.collect::<Vec<_>>()}));
        Ok(replies.into_iter().map(|(_, reply, ..)| reply).collect())
    }

    async fn at_client(&self, forms: &[(usize, &Form)]) -> Result<Vec<Reply>, Failure> {
        let Some(asker) = self.ui.asker.as_ref().filter(|_| !forms.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut mistakes: Vec<String> = Vec::new();
        for _ in 0..TRIES_MAX {
            let question = |(_, form): &(usize, &Form)| {
                let mut form = (*form).clone();
                form.message = match mistakes.as_slice() {
                    [] => format!("The plugin `{}` asks:\n\n{}", self.alias(), form.message),
                    mistakes => format!(
                        "The plugin `{}` asks again, since an answer did not fit ({}):\n\n{}",
                        self.alias(),
                        mistakes.join("; "),
                        form.message
                    ),
                };
                Question {
                    plugin: self.alias().to_owned(),
                    form,
                }
            };
            let questions: Vec<Question> = forms.iter().map(question).collect();
            let replies = asker.ask(&questions, self.ask_timeout).await;
            let replies = replies.map_err(|why| {
                Failure::new(
                    ErrorCode::Unavailable,
                    "client",
                    format!("the client could not ask: {why}"),
                )
            })?;
            mistakes.clear();
            let mut checked = Vec::new();
            for ((_, form), reply) in forms.iter().zip(replies) {
                checked.push(match reply {
                    Reply::Accepted(answer) => match form.check(&answer) {
                        Ok(answer) => Reply::Accepted(answer),
                        Err(wrong) => {
                            mistakes.extend(wrong);
                            continue;
                        }
                    },
                    other => other,
                });
            }
            if mistakes.is_empty() && checked.len() == forms.len() {
                return Ok(checked);
            }
        }
        Err(Failure::new(
            ErrorCode::InvalidArgument,
            "unfit-answer",
            format!("{TRIES_MAX} answers in a row did not fit the form"),
        ))
    }

    async fn in_inbox(&self, form: &Form) -> Result<(Reply, Arc<str>), Failure> {
        let inbox = &self.prompts.inbox;
        let waiting = inbox.ask(&self.scope, form.clone(), self.ask_timeout).await;
        let mut waiting = waiting.map_err(|error| self.state(&error))?;
        let id = &waiting.id;
        let told = format!(
            "`{}` asks something: `portreeve answer {id}` shows and answers it",
            self.alias()
        );
        if let Some(listener) = &self.progress {
            listener.progress(ProgressReport {
                done: 0.0,
                total: None,
                message: Some(told.clone()),
            });
        }
        if let Some(listener) = &self.ui.notices {
            let notice = Notice {
                level: NoticeLevel::Info,
                title: told,
                body: String::new(),
                link: None,
            };
            listener.notice(self.alias(), &notice);
        }
        waiting.answered().await.ok_or_else(|| {
            Failure::new(
                ErrorCode::Unavailable,
                "inbox",
                "the question was taken away",
            )
        })
    }
}

/// Records what came of a question, come what may.
struct Record<'a> {
    prompt: &'a CallPrompt,
    outcome: Option<Value>,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // Whoever asked is gone where nothing is said.
        let outcome = self.outcome.take();
        let outcome = outcome.unwrap_or_else(|| json!({"outcome": "given-up"}));
        self.prompt.note(AuditKind::Answer, body(outcome));
    }
}

fn body(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[async_trait]
impl PromptSource for CallPrompt {
    fn may_notify(&self) -> Result<(), Failure> {
        if self.scope.granted().effective.notify {
            return Ok(());
        }
        Err(self.scope.refuse(Feature::UiNotify, ""))
    }

    async fn notify(&self, notice: Notice) -> Result<(), Failure> {
        self.may_notify()?;
        self.count(Counted::Notices, 1)?;
        let inbox = &self.prompts.inbox;
        let kept = inbox.notify(&self.scope, &notice).await;
        kept.map_err(|error| self.state(&error))?;
        let told = json!({"level": notice.level.as_str(), "title": notice.title});
        self.note(AuditKind::Notify, body(told));
        if let Some(listener) = &self.ui.notices {
            listener.notice(self.alias(), &notice);
        }
        Ok(())
    }

    fn may_ask(&self) -> Result<(), Failure> {
        if self.scope.granted().effective.ask {
            return Ok(());
        }
        Err(self.scope.refuse(Feature::UiAsk, ""))
    }

    async fn ask(&self, forms: Vec<Form>) -> Result<Vec<Reply>, Failure> {
        self.may_ask()?;
        let alias = self.alias();
        let parked = self.prompts.park(alias, self.parked_calls);
        let _parked = parked.map_err(|(crowd, allowed)| {
            let told = match crowd {
                Crowd::Plugin => format!(
                    "{allowed} calls of `{alias}` wait for people, and no more may; the setting `parked-calls` in its `limits` ([plugins.{alias}] in {}) raises it",
                    self.scope.place()
                ),
                Crowd::Host => format!(
                    "{allowed} calls of this host wait for people, and no more may; the setting `parked-calls` under [host] `limits` in {MANIFEST} raises it"
                ),
            };
            self.note(AuditKind::Limit, body(json!({"setting": "parked-calls", "allowed": allowed})));
            Failure::new(ErrorCode::QuotaExceeded, "limit-parked-calls", told)
        })?;
        let count = u32::try_from(forms.len()).unwrap_or(u32::MAX);
        self.count(Counted::Questions, count)?;
        let asked = forms.iter().map(|form| {
            let message: String = form.message.chars().take(RECORDED_CHARS_MAX).collect();
            let fields: Vec<&str> = form
                .fields
                .iter()
                .map(|field| field.name.as_str())
                .collect();
            json!({"message": message, "fields": fields})
        });
        self.note(
            AuditKind::Ask,
            body(json!({"questions": asked.collect::<Vec<_>>()})),
        );
        let mut record = Record {
            prompt: self,
            outcome: None,
        };
        let replies = timeout(self.ask_timeout, self.replies(&forms, &mut record)).await;
        let replies = match replies {
            Ok(Ok(replies)) => replies,
            Ok(Err(failure)) => {
                let failed = json!({"outcome": "failed", "reason": failure.reason});
                record.outcome = Some(failed);
                return Err(failure);
            }
            Err(_) => {
                record.outcome = Some(json!({"outcome": "timed-out"}));
                return Err(Failure::new(
                    ErrorCode::Timeout,
                    "limit-ask-timeout",
                    format!(
                        "nobody answered within {}; the setting `ask-timeout` in the plugin's `limits` ([plugins.{alias}] in {}) raises it",
                        HumanDuration(self.ask_timeout),
                        self.scope.place()
                    ),
                ));
            }
        };
        // What was revoked meanwhile gets no answer.
        self.may_ask()?;
        Ok(replies)
    }
}
