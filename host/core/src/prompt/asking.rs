//! What one call tells people and asks of them, and of the caller's client: under the grants of
//! that moment, within its limits, on record.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use portreeve_manifest::duration::HumanDuration;
use portreeve_manifest::feature::Feature;
use portreeve_manifest::form::Form;
use portreeve_manifest::limits::Limits;
use portreeve_runtime::{
    ErrorCode, Failure, Input, InputKind, InputReply, InputWant, Notice, NoticeLevel,
    ProgressReport, PromptSource, Reply,
};
use portreeve_state::StateError;
use portreeve_state::audit::AuditKind;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{CallerUi, Counted, Crowd, ParkedCall, Prompts, Question};
use crate::call::ProgressListener;
use crate::project::MANIFEST;
use crate::scope::CallScope;

/// How often somebody at a client may give an answer that does not fit.
const TRIES_MAX: u32 = 3;

/// Longest part of a question that is recorded, in characters.
const RECORDED_CHARS_MAX: usize = 200;

/// What a call may tell and ask.
pub(crate) struct CallPrompt {
    pub(super) scope: Arc<CallScope>,
    prompts: Arc<Prompts>,
    notices_a_minute: u32,
    questions_a_minute: u32,
    samplings_a_minute: u32,
    log_entries_a_minute: u32,
    parked_calls: u32,
    ask_timeout: Duration,
    pub(super) ui: CallerUi,
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
            samplings_a_minute: limits.samplings_a_minute,
            log_entries_a_minute: limits.log_entries_a_minute,
            parked_calls: limits.parked_calls,
            ask_timeout: limits.ask_timeout,
            ui,
            progress,
        }
    }

    pub(super) fn alias(&self) -> &str {
        &self.scope.plugin.alias
    }

    fn note(&self, kind: AuditKind, body: Map<String, Value>) {
        if let Err(error) = self.scope.audit.note(self.scope.event(kind, body)) {
            tracing::error!(%error, "what a plugin asks was not recorded");
        }
    }

    pub(super) fn count(&self, what: Counted, some: u32) -> Result<(), Failure> {
        let (name, setting, allowed) = match what {
            Counted::Notices => ("notices", "notices-a-minute", self.notices_a_minute),
            Counted::Questions => ("questions", "questions-a-minute", self.questions_a_minute),
            Counted::Samplings => (
                "requests to models",
                "samplings-a-minute",
                self.samplings_a_minute,
            ),
            Counted::LogEntries => (
                "entries of logs",
                "log-entries-a-minute",
                self.log_entries_a_minute,
            ),
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
    async fn given(
        &self,
        inputs: &[Input],
        record: &mut Record<'_>,
    ) -> Result<Vec<InputReply>, Failure> {
        let (mut there, mut here) = (Vec::new(), Vec::new());
        for (place, input) in inputs.iter().enumerate() {
            match &input.want {
                InputWant::Question(form)
                    if form.is_sensitive() || !self.ui.can(InputKind::Question) =>
                {
                    here.push((place, form));
                }
                _ => there.push((place, input)),
            }
        }
        let asked_there = self.at_client(&there);
        let asked_here = try_join_all(here.iter().map(|(_, form)| self.in_inbox(form)));
        let (given_there, given_here) = futures::try_join!(asked_there, asked_here)?;
        let mut given: Vec<(usize, InputReply, &str, Arc<str>)> = Vec::new();
        for ((place, _), one) in there.iter().zip(given_there) {
            given.push((*place, one, "client", self.scope.caller.clone()));
        }
        for ((place, _), (reply, who)) in here.iter().zip(given_here) {
            given.push((*place, InputReply::Answer(reply), "inbox", who));
        }
        given.sort_by_key(|(place, ..)| *place);
        let each = given.iter().map(|(_, given, via, who)| match given {
            InputReply::Answer(reply) => {
                json!({"outcome": reply.as_str(), "via": via, "by": &**who})
            }
            InputReply::Message(reply) => {
                json!({"outcome": "message", "model": reply.model, "via": via, "by": &**who})
            }
            InputReply::Roots(roots) => {
                json!({"outcome": "roots", "count": roots.len(), "via": via, "by": &**who})
            }
        });
        record.outcome = Some(json!({"answers": each.collect::<Vec<_>>()}));
        Ok(given.into_iter().map(|(_, given, ..)| given).collect())
    }

    /// Asks the client, and asks again for what did not fit its form.
    async fn at_client(&self, inputs: &[(usize, &Input)]) -> Result<Vec<InputReply>, Failure> {
        let Some(asker) = self.ui.asker.as_ref().filter(|_| !inputs.is_empty()) else {
            return Ok(Vec::new());
        };
        let lost = || {
            Failure::new(
                ErrorCode::Unavailable,
                "client",
                "the client answered too little",
            )
        };
        let mut given: Vec<Option<InputReply>> = inputs.iter().map(|_| None).collect();
        let mut mistakes: Vec<String> = Vec::new();
        for _ in 0..TRIES_MAX {
            let open: Vec<usize> = (0..inputs.len())
                .filter(|place| given.get(*place).is_some_and(Option::is_none))
                .collect();
            let wanted = open.iter().filter_map(|place| inputs.get(*place));
            let questions: Vec<Question> = wanted
                .map(|(_, input)| self.question(input, &mistakes))
                .collect();
            let answers = asker.ask(&questions, self.ask_timeout).await;
            let answers = answers.map_err(|why| {
                Failure::new(
                    ErrorCode::Unavailable,
                    "client",
                    format!("the client could not ask: {why}"),
                )
            })?;
            if answers.len() != open.len() {
                return Err(lost());
            }
            mistakes.clear();
            for (place, answer) in open.into_iter().zip(answers) {
                let Some((_, input)) = inputs.get(place) else {
                    continue;
                };
                let fitting = match (&input.want, answer) {
                    (InputWant::Question(form), InputReply::Answer(Reply::Accepted(answer))) => {
                        match form.check(&answer) {
                            Ok(answer) => Some(InputReply::Answer(Reply::Accepted(answer))),
                            Err(wrong) => {
                                mistakes.extend(wrong);
                                None
                            }
                        }
                    }
                    (_, other) => Some(other),
                };
                if let Some(given) = given.get_mut(place) {
                    *given = fitting;
                }
            }
            if mistakes.is_empty() {
                return given
                    .into_iter()
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(lost);
            }
        }
        Err(Failure::new(
            ErrorCode::InvalidArgument,
            "unfit-answer",
            format!("{TRIES_MAX} answers in a row did not fit the form"),
        ))
    }

    /// What the client is asked, with the words of who asks.
    fn question(&self, input: &Input, mistakes: &[String]) -> Question {
        let mut want = input.want.clone();
        if let InputWant::Question(form) = &mut want {
            form.message = match mistakes {
                [] => format!("The plugin `{}` asks:\n\n{}", self.alias(), form.message),
                mistakes => format!(
                    "The plugin `{}` asks again, since an answer did not fit ({}):\n\n{}",
                    self.alias(),
                    mistakes.join("; "),
                    form.message
                ),
            };
        }
        Question {
            plugin: self.alias().to_owned(),
            name: input.name.clone(),
            want,
        }
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
        if let Some(listener) = &self.ui.listener {
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
        if let Some(listener) = &self.ui.listener {
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
        let inputs = forms.into_iter().map(|form| Input {
            name: None,
            want: InputWant::Question(form),
        });
        let given = self.asked(inputs.collect()).await?;
        let replies = given.into_iter().filter_map(|given| match given {
            InputReply::Answer(reply) => Some(reply),
            _ => None,
        });
        Ok(replies.collect())
    }
}

impl CallPrompt {
    fn park(&self) -> Result<ParkedCall, Failure> {
        let alias = self.alias();
        let parked = self.prompts.park(alias, self.parked_calls);
        parked.map_err(|(crowd, allowed)| {
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
        })
    }

    /// Whether all of these may be asked for now.
    fn may_ask_for_all(&self, inputs: &[Input]) -> Result<(), Failure> {
        inputs
            .iter()
            .try_for_each(|input| self.may(input.want.kind()))
    }

    /// Asks for all of these, and waits for them.
    pub(super) async fn asked(&self, inputs: Vec<Input>) -> Result<Vec<InputReply>, Failure> {
        self.may_ask_for_all(&inputs)?;
        let alias = self.alias();
        let _parked = self.park()?;
        let of = |sampling: bool| {
            let kinds = inputs.iter().map(|input| input.want.kind());
            let some = kinds.filter(|kind| (*kind == InputKind::Message) == sampling);
            u32::try_from(some.count()).unwrap_or(u32::MAX)
        };
        self.count(Counted::Questions, of(false))?;
        self.count(Counted::Samplings, of(true))?;
        let asked = inputs.iter().map(|input| told(&input.want));
        self.note(
            AuditKind::Ask,
            body(json!({"questions": asked.collect::<Vec<_>>()})),
        );
        let mut record = Record {
            prompt: self,
            outcome: None,
        };
        let given = timeout(self.ask_timeout, self.given(&inputs, &mut record)).await;
        let given = match given {
            Ok(Ok(given)) => given,
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
        self.may_ask_for_all(&inputs)?;
        Ok(given)
    }
}

/// What is recorded of something that is asked for: of a form its words, of a conversation how
/// long it is.
fn told(want: &InputWant) -> Value {
    match want {
        InputWant::Question(form) => {
            let message: String = form.message.chars().take(RECORDED_CHARS_MAX).collect();
            let fields: Vec<&str> = form
                .fields
                .iter()
                .map(|field| field.name.as_str())
                .collect();
            json!({"message": message, "fields": fields})
        }
        InputWant::Message(request) => {
            json!({"model": {"messages": request.messages.len(), "max-tokens": request.max_tokens}})
        }
        InputWant::Roots => json!({"roots": true}),
    }
}
