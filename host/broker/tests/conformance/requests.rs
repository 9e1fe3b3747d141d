//! Requests and answers.

use std::sync::Arc;

use portreeve_broker::{
    ANYBODY, Answer, Answering, BrokerError, DeadFilter, Holder, Limits, Message, Refusal, Reply,
    Request, Responder,
};
use tokio::sync::{mpsc, oneshot};

use crate::{Backend, message, patterns};

/// Requests for one who answers. Who asked is told that a request was given up when the way of
/// its answer is dropped.
pub(crate) struct Requests {
    asked: mpsc::UnboundedReceiver<(Arc<Message>, oneshot::Sender<Reply>)>,
    _answering: Answering,
}

struct Passing(mpsc::UnboundedSender<(Arc<Message>, oneshot::Sender<Reply>)>);

#[async_trait::async_trait]
impl Responder for Passing {
    async fn answer(&self, request: &Request) -> Option<Reply> {
        let (reply, answered) = oneshot::channel();
        self.0.send((request.message.clone(), reply)).ok()?;
        answered.await.ok()
    }
}

impl Requests {
    pub(crate) fn new(answer: impl FnOnce(Arc<dyn Responder>) -> Answering) -> Requests {
        let (passing, asked) = mpsc::unbounded_channel();
        Requests {
            asked,
            _answering: answer(Arc::new(Passing(passing))),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<(Arc<Message>, oneshot::Sender<Reply>)> {
        self.asked.recv().await
    }
}

fn answer(text: &str) -> Answer {
    Answer {
        payload: text.as_bytes().to_vec().into(),
        content_type: "text/plain".to_owned(),
        headers: Vec::new(),
    }
}

pub(crate) async fn a_request_is_answered(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let mut requests = backend.answer(patterns(&["translate.*"]));
    let asking = broker.request(message("translate.text", "hello"), 1_000, ANYBODY);
    let answering = async {
        let (asked, reply) = requests.next().await.unwrap();
        assert_eq!(&asked.payload[..], b"hello");
        assert_eq!(asked.sender.principal, "local");
        assert!(!asked.id.is_empty());
        reply.send(Ok(answer("bonjour"))).unwrap();
    };
    let (got, ()) = futures::future::join(asking, answering).await;
    assert_eq!(got.unwrap(), answer("bonjour"));
    // It leaves nothing behind.
    assert_eq!(broker.stats().await.unwrap().topics, []);
}

/// In whatever order they are answered.
pub(crate) async fn each_request_gets_its_own_answer(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let mut requests = backend.answer(patterns(&["t"]));
    let asking = ["1", "2", "3"].map(|text| broker.request(message("t", text), 10_000, ANYBODY));
    let answering = async {
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(requests.next().await.unwrap());
        }
        for (request, reply) in asked.into_iter().rev() {
            let text = std::str::from_utf8(&request.payload).unwrap();
            reply.send(Ok(answer(&format!("to {text}")))).unwrap();
        }
    };
    let (got, ()) = futures::future::join(futures::future::join_all(asking), answering).await;
    let got: Vec<Answer> = got.into_iter().map(Result::unwrap).collect();
    assert_eq!(got, ["to 1", "to 2", "to 3"].map(answer));
}

pub(crate) async fn a_request_that_nobody_answers_says_so(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let requests = backend.answer(patterns(&["other"]));
    let error = broker
        .request(message("t", "1"), 1_000, ANYBODY)
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::NobodyAnswers(_)), "{error:?}");
    drop(requests);
    let error = broker
        .request(message("other", "1"), 1_000, ANYBODY)
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::NobodyAnswers(_)), "{error:?}");
}

pub(crate) async fn a_request_has_a_time(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let _requests = backend.answer(patterns(&["t"]));
    let error = broker
        .request(message("t", "1"), 5, ANYBODY)
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::Timeout(5)), "{error:?}");
}

pub(crate) async fn a_request_that_is_given_up_says_so(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let mut requests = backend.answer(patterns(&["t"]));
    let asking = broker.request(message("t", "1"), 1_000, ANYBODY);
    let (error, _) = futures::future::join(asking, async { drop(requests.next().await) }).await;
    assert!(matches!(error, Err(BrokerError::GivenUp)), "{error:?}");
}

pub(crate) async fn who_answers_may_fail_in_its_own_words(backend: &dyn Backend) {
    let broker = backend.open(Limits::default()).await;
    let mut requests = backend.answer(patterns(&["t"]));
    let refusal = Refusal {
        code: "conflict".to_owned(),
        reason: "locked".to_owned(),
        message: "the issue is locked".to_owned(),
        retry_ms: Some(5),
        detail: Some(serde_json::json!({"by": "somebody"})),
    };
    let asking = broker.request(message("t", "1"), 10_000, ANYBODY);
    let answering = async {
        let (_, reply) = requests.next().await.unwrap();
        reply.send(Err(refusal.clone())).unwrap();
    };
    let (got, ()) = futures::future::join(asking, answering).await;
    match got {
        Err(BrokerError::Refused(told)) => assert_eq!(*told, refusal),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn requests_that_wait_are_bounded(backend: &dyn Backend) {
    let limits = Limits {
        requests_max: 2,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let _requests = backend.answer(patterns(&["t"]));
    let asking = (0..3).map(|_| broker.request(message("t", "1"), 20, ANYBODY));
    let all = futures::future::join_all(asking).await;
    let limited = all
        .iter()
        .filter(|one| matches!(one, Err(BrokerError::Limited { .. })));
    assert_eq!(limited.count(), 1);
}

/// What comes of a request while somebody answers the next that comes there.
async fn answered_by(
    requests: &mut Requests,
    text: &str,
    asking: impl Future<Output = Result<Answer, BrokerError>>,
) -> Result<Answer, BrokerError> {
    let answering = async {
        let (_, reply) = requests.next().await.unwrap();
        reply.send(Ok(answer(text))).unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        got = asking => got,
        () = answering => unreachable!("it waits"),
    }
}

/// Of several who answer, one that may not be asked is passed over, and so is one without room;
/// where none is left, that is said.
pub(crate) async fn who_may_not_be_asked_is_passed_over(backend: &dyn Backend) {
    let limits = Limits {
        requests_max: 1,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let mut first = backend.answer_as("first", patterns(&["t"]));
    let mut second = backend.answer_as("second", patterns(&["t"]));
    let not_first = |who: &Holder, id: &str| {
        assert!(!id.is_empty());
        &*who.alias != "first"
    };
    let asking = broker.request(message("t", "1"), 1_000, &not_first);
    let got = answered_by(&mut second, "second", asking).await;
    assert_eq!(got.unwrap(), answer("second"));

    let error = broker.request(message("t", "1"), 10_000, &|_, _| false);
    let error = error.await.unwrap_err();
    assert!(
        matches!(error, BrokerError::NobodyMayAnswer(_)),
        "{error:?}"
    );
    // The one that may be asked is full: that is another refusal, and passes.
    let waits = broker.request(message("t", "1"), 20, &not_first);
    let full = broker.request(message("t", "1"), 20, &not_first);
    let (_, full) = futures::future::join(waits, full).await;
    assert!(matches!(full, Err(BrokerError::Limited { .. })), "{full:?}");
    let asking = broker.request(message("t", "1"), 1_000, ANYBODY);
    let got = answered_by(&mut first, "first", asking).await;
    assert_eq!(got.unwrap(), answer("first"));
}

pub(crate) async fn a_cycle_of_requests_ends(backend: &dyn Backend) {
    let limits = Limits {
        hops_max: 4,
        ..Limits::default()
    };
    let broker = backend.open(limits).await;
    let mut requests = backend.answer(patterns(&["t"]));
    let asking = broker.request(message("t", "1"), 10_000, ANYBODY);
    // Each request is answered with what came of the next.
    let answering = async {
        let mut replies = Vec::new();
        let mut depth = 0;
        let (first, reply) = requests.next().await.unwrap();
        replies.push(reply);
        let mut path = first.path_with_it();
        loop {
            depth += 1;
            let mut next = message("t", "1");
            next.sender.path = path;
            let mut asked = Box::pin(broker.request(next, 10_000, ANYBODY));
            let step = tokio::select! {
                biased;
                error = &mut asked => Err(error.unwrap_err()),
                next = requests.next() => Ok(next.unwrap()),
            };
            match step {
                Ok((next, reply)) => {
                    path = next.path_with_it();
                    replies.push(reply);
                }
                Err(error) => {
                    assert!(matches!(error, BrokerError::Quota { .. }), "{error:?}");
                    assert!(
                        error.to_string().contains("publisher:t -> publisher:t"),
                        "{error}"
                    );
                    break;
                }
            }
        }
        assert_eq!(depth, 4);
        replies.remove(0).send(Ok(answer("ended"))).unwrap();
    };
    let (got, ()) = futures::future::join(asking, answering).await;
    assert_eq!(got.unwrap(), answer("ended"));
    // The last one is a dead letter, which shows the way.
    let dead = broker
        .dead_letters(&DeadFilter::default(), 10)
        .await
        .unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, "hops");
    assert!(
        dead[0].detail.contains("publisher:t -> publisher:t"),
        "{}",
        dead[0].detail
    );
}
