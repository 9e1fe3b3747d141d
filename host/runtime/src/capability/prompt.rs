//! `portreeve:prompt`: what a plugin tells people, and asks of them.

use async_trait::async_trait;
use portreeve_manifest::clean;
use portreeve_manifest::form::Form;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::bindings::portreeve::prompt::{notices, questions};
use crate::bindings::portreeve::types::types as wit;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Longest title of a notice, in characters.
const TITLE_CHARS_MAX: usize = 100;

/// Longest body of a notice, in characters.
const BODY_CHARS_MAX: usize = 2_000;

/// Longest link, in bytes.
const LINK_BYTES_MAX: usize = 2_000;

/// Questions that are asked at once, as `wit/prompt` promises.
pub const QUESTIONS_MAX: usize = 8;

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeLevel {
    /// Good to know.
    Info,
    /// Worth a look.
    Warning,
    /// Something went wrong.
    Error,
}

impl NoticeLevel {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            NoticeLevel::Info => "info",
            NoticeLevel::Warning => "warning",
            NoticeLevel::Error => "error",
        }
    }
}

/// Something that a plugin tells people: clean, and no longer than it may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Notice {
    /// How much it matters.
    pub level: NoticeLevel,
    /// One line.
    pub title: String,
    /// The rest; may be empty.
    pub body: String,
    /// Where to read more.
    pub link: Option<String>,
}

/// What came of a question.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// What was filled in.
    Accepted(Map<String, Value>),
    /// Somebody said no.
    Declined,
    /// Somebody put it away.
    Dismissed,
}

impl Reply {
    /// What came of it, without what was filled in.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Reply::Accepted(_) => "accepted",
            Reply::Declined => "declined",
            Reply::Dismissed => "dismissed",
        }
    }
}

/// What was filled in is nobody's business but the plugin's.
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Tells and asks people for a plugin. Each use asks again: grants may have changed.
#[async_trait]
pub trait PromptSource: Send + Sync {
    /// Whether the plugin may tell anything now.
    ///
    /// # Errors
    /// It is not granted.
    fn may_notify(&self) -> Result<(), Failure>;

    /// Tells it.
    ///
    /// # Errors
    /// There were too many.
    async fn notify(&self, notice: Notice) -> Result<(), Failure>;

    /// Whether the plugin may ask anything now.
    ///
    /// # Errors
    /// It is not granted.
    fn may_ask(&self) -> Result<(), Failure>;

    /// Asks all of these, and waits for the answers, one for each, which fit their forms. The
    /// call's clock stands still meanwhile: whoever implements this bounds how long it takes.
    ///
    /// # Errors
    /// Too many wait already, nobody answers, or nobody can be asked.
    async fn ask(&self, forms: Vec<Form>) -> Result<Vec<Reply>, Failure>;
}

/// Where nothing is granted.
#[derive(Clone, Copy, Debug)]
pub struct NoPrompt;

fn none<T>() -> Result<T, Failure> {
    Err(Failure::new(
        ErrorCode::PermissionDenied,
        "listing",
        "tools are listed without any grant",
    ))
}

#[async_trait]
impl PromptSource for NoPrompt {
    fn may_notify(&self) -> Result<(), Failure> {
        none()
    }

    async fn notify(&self, _: Notice) -> Result<(), Failure> {
        none()
    }

    fn may_ask(&self) -> Result<(), Failure> {
        none()
    }

    async fn ask(&self, _: Vec<Form>) -> Result<Vec<Reply>, Failure> {
        none()
    }
}

fn invalid(reason: &str, message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, reason, message)
}

/// Refuses what is no link that people could be shown: they see all of it, and it leads to
/// where it says.
fn link(text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| invalid("link", format!("the link {why}; give an https URL"));
    if text.len() > LINK_BYTES_MAX {
        return Err(wrong(&format!("has more than {LINK_BYTES_MAX} bytes")));
    }
    let url = Url::parse(text).map_err(|_| wrong("is no URL"))?;
    if url.scheme() != "https" {
        return Err(wrong("is not https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user name before its host"));
    }
    // As it was parsed: hosts in ASCII, and everything else escaped.
    let url = url.to_string();
    if url.len() > LINK_BYTES_MAX {
        return Err(wrong(&format!(
            "has more than {LINK_BYTES_MAX} bytes when it is escaped"
        )));
    }
    Ok(url)
}

impl notices::Host for Guest {
    async fn notify(&mut self, notice: notices::Notice) -> Result<(), wit::Failure> {
        let source = self.context.prompt.clone();
        source.may_notify()?;
        let title = clean::line(&notice.title, TITLE_CHARS_MAX);
        if title.is_empty() {
            return Err(invalid("title", "the title is empty; say in a line what it is").into());
        }
        let notice = Notice {
            level: match notice.level {
                notices::Level::Info => NoticeLevel::Info,
                notices::Level::Warning => NoticeLevel::Warning,
                notices::Level::Error => NoticeLevel::Error,
            },
            title,
            body: clean::lines(&notice.body, BODY_CHARS_MAX),
            link: notice.link.as_deref().map(link).transpose()?,
        };
        Ok(source.notify(notice).await?)
    }
}

impl Guest {
    async fn asked(&mut self, asked: Vec<questions::Question>) -> Result<Vec<Reply>, Failure> {
        let source = self.context.prompt.clone();
        source.may_ask()?;
        if asked.is_empty() || asked.len() > QUESTIONS_MAX {
            return Err(invalid(
                "questions",
                format!(
                    "{} questions are asked at once, but it may be 1 to {QUESTIONS_MAX}",
                    asked.len()
                ),
            ));
        }
        let forms = asked
            .iter()
            .map(|question| Form::read(&question.message, &question.schema));
        let forms: Vec<Form> = forms
            .collect::<Result<_, _>>()
            .map_err(|error| invalid("form", error.to_string()))?;
        let count = forms.len();
        let clock = self.clock.clone();
        let _standstill = clock.stop();
        let cancel = self.context.cancel.clone();
        // A long-lived instance is not stopped when its caller goes; nobody is to answer then.
        let replies = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(cancelled()),
            replies = source.ask(forms) => replies?,
        };
        if replies.len() != count {
            return Err(no_answer());
        }
        Ok(replies)
    }
}

fn cancelled() -> Failure {
    Failure::new(ErrorCode::Cancelled, "cancelled", "the call was cancelled")
}

fn no_answer() -> Failure {
    Failure::new(ErrorCode::Internal, "no-answer", "the answer was lost")
}

impl From<Reply> for questions::Answer {
    fn from(reply: Reply) -> questions::Answer {
        match reply {
            Reply::Accepted(answer) => {
                questions::Answer::Accepted(Value::Object(answer).to_string())
            }
            Reply::Declined => questions::Answer::Declined,
            Reply::Dismissed => questions::Answer::Dismissed,
        }
    }
}

impl questions::Host for Guest {
    async fn ask(
        &mut self,
        question: questions::Question,
    ) -> Result<questions::Answer, wit::Failure> {
        let reply = self.asked(vec![question]).await?.pop();
        Ok(reply.ok_or_else(no_answer)?.into())
    }

    async fn ask_many(
        &mut self,
        questions: Vec<questions::Question>,
    ) -> Result<Vec<questions::Answer>, wit::Failure> {
        let replies = self.asked(questions).await?;
        Ok(replies.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_show_where_they_lead() {
        for (text, expected) in [
            (
                "https://example.com/a?b=c",
                Some("https://example.com/a?b=c"),
            ),
            (
                "https://example.com/\u{202e}x",
                Some("https://example.com/%E2%80%AEx"),
            ),
            ("https://exämple.com/", Some("https://xn--exmple-cua.com/")),
            ("http://example.com/", None),
            ("javascript:alert(1)", None),
            ("file:///etc/passwd", None),
            ("https://bank.example@evil.example/", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(link(text).ok().as_deref(), expected, "{text}");
        }
        assert!(link(&format!("https://example.com/{}", "x".repeat(2_000))).is_err());
        assert!(link(&format!("https://example.com/{}", "é".repeat(900))).is_err());
    }

    #[test]
    fn replies_keep_what_was_filled_in_to_themselves() {
        let answer = serde_json::json!({"key": "hunter2"});
        let reply = Reply::Accepted(answer.as_object().unwrap().clone());
        assert_eq!(format!("{reply:?}"), "accepted");
    }
}
