//! Requests and answers. Nothing of them is on disk.

use std::sync::Arc;
use std::time::Duration;

use portreeve_manifest::grant::{Topic, TopicPattern};
use portreeve_state::Holder;
use tokio::sync::{mpsc, oneshot};

use super::Inner;
use crate::broker::Whom;
use crate::error::BrokerError;
use crate::message::{Answer, Message, Publish, Reply};

type Asked = (Arc<Message>, oneshot::Sender<Reply>);

/// Requests for one who answers. Who asked is told that a request was given up when its sender is
/// dropped.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Asked>);

impl Requests {
    /// The next request, and how to answer it; none when the broker is gone.
    pub async fn next(&mut self) -> Option<(Arc<Message>, oneshot::Sender<Reply>)> {
        self.0.recv().await
    }
}

#[derive(Debug)]
struct Responder {
    holder: Holder,
    patterns: Vec<TopicPattern>,
    sender: mpsc::Sender<Asked>,
}

#[derive(Debug, Default)]
pub(super) struct Responders(Vec<Responder>);

impl Responders {
    pub(super) fn add(
        &mut self,
        holder: Holder,
        patterns: Vec<TopicPattern>,
        waiting_max: usize,
    ) -> Requests {
        self.0.retain(|responder| !responder.sender.is_closed());
        let (sender, receiver) = mpsc::channel(waiting_max.max(1));
        self.0.push(Responder {
            holder,
            patterns,
            sender,
        });
        Requests(receiver)
    }

    fn on<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = &'a Responder> {
        self.0.iter().filter(|responder| {
            let mut patterns = responder.patterns.iter();
            !responder.sender.is_closed() && patterns.any(|pattern| pattern.matches(topic))
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
        let (answer, waiting) = oneshot::channel();
        {
            let mut core = self.core();
            core.publisher_may(&message.sender.holder, bytes, limits, now)?;
            let id = message.id.clone();
            let mut asked = Some((Arc::new(message), answer));
            let (mut somebody, mut full) = (false, false);
            for responder in core.responders.on(&publish.topic) {
                somebody = true;
                if !whom(&responder.holder, &id) {
                    continue;
                }
                match asked.take().map(|asked| responder.sender.try_send(asked)) {
                    None | Some(Ok(())) => break,
                    Some(Err(error)) => asked = Some(error.into_inner()),
                }
                full = true;
            }
            if !somebody {
                return Err(BrokerError::NobodyAnswers(publish.topic.to_string()));
            }
            if asked.is_some() && !full {
                return Err(BrokerError::NobodyMayAnswer(publish.topic.to_string()));
            }
            if asked.is_some() {
                return Err(BrokerError::Limited {
                    what: format!("requests that wait on `{}`", publish.topic),
                    used: limits.requests_max as u64,
                    allowed: limits.requests_max as u64,
                    setting: "[messages] requests",
                    retry_ms: 100,
                });
            }
            core.publisher_takes(&publish.sender.holder, bytes);
        }
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
