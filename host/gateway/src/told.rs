//! What plugins tell the client of a call: notices, and entries of its log.
#![allow(deprecated, reason = "clients are told by the protocol's log")]

use portreeve_core::{ClientListener, LogEntry, LogLevel, Notice, NoticeLevel};
use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, LoggingMessageNotification, LoggingMessageNotificationParam};
use rmcp::service::Peer;
use serde_json::{Map, Value};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What waits for a client that reads slowly; more is dropped.
const WAITING_MAX: usize = 64;

/// Something that a plugin tells its caller's client.
pub(crate) struct Told {
    plugin: String,
    level: LoggingLevel,
    data: Value,
}

/// Takes what plugins tell without ever waiting.
pub(crate) struct Listener {
    sender: Sender<Told>,
    /// How much something must matter for the client to hear of it.
    least: u8,
}

impl Listener {
    fn tell(&self, plugin: &str, level: LoggingLevel, data: impl FnOnce() -> Value) {
        if weight(level) < self.least {
            return;
        }
        // Full: the client is behind. The inbox has the notices.
        let _ = self.sender.try_send(Told {
            plugin: plugin.to_owned(),
            level,
            data: data(),
        });
    }
}

impl ClientListener for Listener {
    fn notice(&self, plugin: &str, notice: &Notice) {
        self.tell(plugin, notice_level(notice.level), || {
            let mut data = Map::from_iter([("title".to_owned(), notice.title.clone().into())]);
            if !notice.body.is_empty() {
                data.insert("body".to_owned(), notice.body.clone().into());
            }
            if let Some(link) = &notice.link {
                data.insert("link".to_owned(), link.clone().into());
            }
            Value::Object(data)
        });
    }

    fn log(&self, plugin: &str, entry: LogEntry) {
        self.tell(plugin, entry_level(entry.level), || entry.data);
    }
}

/// Where it goes in, if it matters as much as `least`, and where it comes out.
pub(crate) fn told(least: u8) -> (Listener, Receiver<Told>) {
    let (sender, receiver) = channel(WAITING_MAX);
    (Listener { sender, least }, receiver)
}

const fn notice_level(level: NoticeLevel) -> LoggingLevel {
    match level {
        NoticeLevel::Info => LoggingLevel::Info,
        NoticeLevel::Warning => LoggingLevel::Warning,
        NoticeLevel::Error => LoggingLevel::Error,
    }
}

const fn entry_level(level: LogLevel) -> LoggingLevel {
    match level {
        LogLevel::Debug => LoggingLevel::Debug,
        LogLevel::Info => LoggingLevel::Info,
        LogLevel::Notice => LoggingLevel::Notice,
        LogLevel::Warning => LoggingLevel::Warning,
        LogLevel::Error => LoggingLevel::Error,
        LogLevel::Critical => LoggingLevel::Critical,
        LogLevel::Alert => LoggingLevel::Alert,
        LogLevel::Emergency => LoggingLevel::Emergency,
    }
}

/// How much a level of the protocol's matters.
pub(crate) const fn weight(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
        // One that a later version of the protocol adds.
        #[allow(unreachable_patterns, reason = "the list may grow")]
        _ => 7,
    }
}

/// Runs `call` and passes on meanwhile what it tells. When this returns, all of it is written:
/// nothing comes after the answer.
pub(crate) async fn passed_on<T>(
    call: impl Future<Output = T>,
    mut told: Receiver<Told>,
    client: &Peer<RoleServer>,
) -> T {
    tokio::pin!(call);
    let answer = loop {
        tokio::select! {
            biased;
            Some(told) = told.recv() => tell(client, told).await,
            answer = &mut call => break answer,
        }
    };
    while let Ok(told) = told.try_recv() {
        tell(client, told).await;
    }
    answer
}

async fn tell(client: &Peer<RoleServer>, told: Told) {
    let mut params = LoggingMessageNotificationParam::new(told.level, told.data);
    params.logger = Some(told.plugin);
    let told = LoggingMessageNotification::new(params).into();
    // Boxed, as in `progress`: it is large, and few calls tell anything.
    let _ = Box::pin(client.send_notification(told)).await;
}
