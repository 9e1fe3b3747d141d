//! Requests and answers. Nothing of them is on disk.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_state::Holder;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Inner;
use crate::broker::Whom;
use crate::error::BrokerError;
use crate::message::{Answer, Message, Publish, Reply};

/// A request that somebody waits for.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub message: Arc<Message>,
    reply: oneshot::Sender<Reply>,
}

impl Request {
    /// Whether nobody waits for it any more.
    pub fn is_left(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Somebody who answers requests. Each is answered in a task of its own, in the tokio runtime of
/// whoever asks: a thread that is woken for it costs more than most answers do.
#[async_trait]
pub trait Responder: Send + Sync {
    /// Answers a request; none where it is given up.
    async fn answer(&self, request: &Request) -> Option<Reply>;
}

/// That somebody is asked. When it is dropped, nobody is any more, and what was not answered by
/// then is given up.
#[derive(Debug)]
pub struct Answering(#[expect(dead_code, reason = "it ends when it is dropped")] DropGuard);

struct Asked {
    holder: Holder,
    patterns: Vec<TopicPattern>,
    responder: Arc<dyn Responder>,
    /// Places for requests that are not answered yet.
    places: Arc<Semaphore>,
    end: CancellationToken,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("holder", &self.holder)
            .field("patterns", &self.patterns)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct Responders(Vec<Arc<Asked>>);

impl Responders {
    pub(super) fn add(
        &mut self,
        holder: Holder,
        patterns: Vec<TopicPattern>,
        responder: Arc<dyn Responder>,
        requests_max: usize,
    ) -> Answering {
        self.0.retain(|asked| !asked.end.is_cancelled());
        let end = CancellationToken::new();
        self.0.push(Arc::new(Asked {
            holder,
            patterns,
            responder,
            places: Arc::new(Semaphore::new(requests_max.max(1))),
            end: end.clone(),
        }));
        Answering(end.drop_guard())
    }

    fn on<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = &'a Arc<Asked>> {
        self.0.iter().filter(|asked| {
            let mut patterns = asked.patterns.iter();
            !asked.end.is_cancelled() && patterns.any(|pattern| pattern.matches(topic))
        })
    }
}

impl Inner {
    pub(super) async fn request(
        &self,
        publish: Publish,
        timeout_ms: u64,
        whom: Whom<'_>,
    ) -> Result<Answer, BrokerError> {
        publish.check()?;
        let limits = &self.limits;
        let now = self.now();
        let most = limits.message_bytes_max as u64;
        let bytes = publish.bytes() as u64;
        if bytes > most {
            return Err(BrokerError::Quota {
                what: "bytes of a request".to_owned(),
                used: bytes,
                allowed: most,
                setting: "[messages] message-bytes",
            });
        }
        let message = Message::new(&publish, self.ids.next(now)?, now);
        if message.sender.path.len() >= limits.hops_max {
            self.admit_publisher(&message, now)?;
            let refused = BrokerError::Quota {
                what: format!(
                    "plugins that a request has come through ({})",
                    message.path_with_it().join(" -> ")
                ),
                used: message.sender.path.len() as u64,
                allowed: limits.hops_max as u64,
                setting: "[messages] hops",
            };
            self.bury_looping(message, now).await?;
            return Err(refused);
        }
        let (asked, place) = {
            let mut core = self.core();
            core.publisher_may(&message.sender.holder, bytes, limits, now)?;
            let (mut somebody, mut full, mut found) = (false, false, None);
            for asked in core.responders.on(&publish.topic) {
                somebody = true;
                if !whom(&asked.holder, &message.id) {
                    continue;
                }
                if let Ok(place) = asked.places.clone().try_acquire_owned() {
                    found = Some((asked.clone(), place));
                    break;
                }
                full = true;
            }
            let Some(found) = found else {
                let topic = publish.topic.to_string();
                return Err(match (somebody, full) {
                    (false, _) => BrokerError::NobodyAnswers(topic),
                    (true, false) => BrokerError::NobodyMayAnswer(topic),
                    (true, true) => BrokerError::Limited {
                        what: format!("requests that wait on `{topic}`"),
                        used: limits.requests_max as u64,
                        allowed: limits.requests_max as u64,
                        setting: "[messages] requests",
                        retry_ms: 100,
                    },
                });
            };
            core.publisher_takes(&publish.sender.holder, bytes);
            found
        };
        let (reply, waiting) = oneshot::channel();
        let request = Request {
            message: Arc::new(message),
            reply,
        };
        tokio::spawn(async move {
            let _place = place;
            let answer = tokio::select! {
                biased;
                () = asked.end.cancelled() => None,
                answer = asked.responder.answer(&request) => answer,
            };
            if let Some(answer) = answer {
                // Whoever asked may have left.
                let _ = request.reply.send(answer);
            }
        });
        let most = u64::try_from(limits.request_ms_max).unwrap_or(u64::MAX);
        let timeout = timeout_ms.min(most);
        match tokio::time::timeout(Duration::from_millis(timeout), waiting).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(refusal))) => Err(BrokerError::Refused(Box::new(refusal))),
            Ok(Err(_)) => Err(BrokerError::GivenUp),
            Err(_) => Err(BrokerError::Timeout(timeout)),
        }
    }
}
