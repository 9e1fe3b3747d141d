//! How a subscription's messages are worked on: so many at a time, each settled as whoever works
//! on it says.

use std::sync::{Arc, Weak};
use std::time::Duration;

use portreeve_broker::{Broker as _, BrokerError, Delivery, Outcome, Subscription};
use tokio::sync::Semaphore;

use crate::host::Host;

/// Before something that failed on the host's side is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Who works on messages.
pub(crate) trait Consumer: Send + Sync + 'static {
    /// Waits until it takes messages.
    fn ready(&self) -> impl Future<Output = ()> + Send;

    /// Works on one.
    fn take(&self, host: &Arc<Host>, delivery: &Delivery) -> impl Future<Output = Outcome> + Send;
}

/// Gives a consumer the messages of a subscription, as long as there are both.
pub(crate) async fn consume(
    host: Weak<Host>,
    subscription: Subscription,
    at_once: usize,
    consumer: impl Consumer,
) {
    let (plugin, name) = (subscription.holder.alias.clone(), subscription.name.clone());
    let consumer = Arc::new(consumer);
    let places = Arc::new(Semaphore::new(at_once));
    let mut running = tokio::task::JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        consumer.ready().await;
        let Some(broker) = host.upgrade().map(|host| host.post.broker.clone()) else {
            return;
        };
        let next = async {
            broker.ready(&subscription).await?;
            broker.fetch(&subscription, 1).await
        };
        match next.await {
            Ok(deliveries) => {
                let Some(delivery) = deliveries.into_iter().next() else {
                    continue;
                };
                let (host, consumer, subscription) =
                    (host.clone(), consumer.clone(), subscription.clone());
                let work = async move {
                    let _place = place;
                    if let Some(host) = host.upgrade() {
                        let outcome = consumer.take(&host, &delivery).await;
                        settle(&host, &subscription, &delivery, outcome).await;
                    }
                };
                match at_once {
                    // One after the other needs no task for each.
                    1 => work.await,
                    _ => {
                        running.spawn(work);
                    }
                }
            }
            Err(BrokerError::NotFound(_) | BrokerError::Closed) => return,
            Err(error) => {
                tracing::warn!(%plugin, name, %error, "messages can't be delivered now");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn settle(host: &Host, subscription: &Subscription, delivery: &Delivery, outcome: Outcome) {
    let settled = host.post.broker.settle(subscription, delivery, outcome);
    match settled.await {
        Ok(()) | Err(BrokerError::Stale | BrokerError::Closed) => {}
        Err(error) => {
            let (plugin, name) = (&subscription.holder.alias, &subscription.name);
            let topic = delivery.message.topic.as_str();
            tracing::warn!(%plugin, name, topic, %error, "what became of a message was not written");
        }
    }
}
