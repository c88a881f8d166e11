//! Announcements to everybody, of whom some are online, and urgent notices among them.
//!
//! Each recipient is known to the node because they were connected once. Everybody who is online must get each announcement
//! exactly once, and the node must say exactly how many are unread, also of those who were not there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::UserId;
use hallway_protocol::command::Recipients;
use serde_json::{Value, json};

use crate::member::Watch;
use crate::metrics::Metric;
use crate::run::{Context, Failure, Handle, for_all, stamp};

/// People who get an urgent notice with each announcement.
const URGENT_USERS: usize = 100;
/// Recipients who were not online and are asked afterwards what they have.
const ASKED_AFTERWARDS: u32 = 100;
/// No notification for so long means that there is none left.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn run(context: &Arc<Context>) -> Result<Value, Failure> {
    let settings = &context.settings;
    let began = Instant::now();
    // The last number is the one who announces: nobody is notified of what they did themselves.
    let crier = context.connect(context.user(settings.recipients)?, Watch::default(), None).await?;
    let online = settings.online.min(settings.recipients);
    for_all((online..settings.recipients).collect(), |number| {
        let context = Arc::clone(context);
        async move { context.be_known(&context.user(number)?, number as usize % context.settings.targets.len()).await }
    })
    .await?;
    let started = Instant::now();
    let people: Vec<Arc<Handle>> = for_all((0..online).collect(), |number| {
        let context = Arc::clone(context);
        async move {
            let target = number as usize % context.settings.targets.len();
            let how = Watch { started: Some(started), target, ..Watch::default() };
            context.connect(context.user(number)?, how, None).await.map(Arc::new)
        }
    })
    .await?;
    println!("{online} of {} are online after {:.1?}", settings.recipients, began.elapsed());
    let mut urgent = vec![0_u64; people.len()];
    for number in 0..settings.announcements {
        if context.stopped() {
            break;
        }
        announce(context, &crier, &people, started, &mut urgent, number).await?;
    }
    let announced = u64::from(settings.announcements);
    ask(context, people.iter().zip(&urgent).map(|(handle, urgent)| (Arc::clone(handle), announced + urgent)).collect())
        .await?;
    let afterwards = for_all((online..settings.recipients.min(online + ASKED_AFTERWARDS)).collect(), |number| {
        let context = Arc::clone(context);
        async move { context.connect(context.user(number)?, Watch::default(), None).await.map(Arc::new) }
    })
    .await?;
    let asked = afterwards.len();
    ask(context, afterwards.iter().map(|handle| (Arc::clone(handle), announced)).collect()).await?;
    context.finish(people).await?;
    for handle in afterwards.into_iter().chain([Arc::new(crier)]) {
        handle.client.close().await;
    }
    Ok(json!({ "online": online, "asked_afterwards": asked }))
}

/// One announcement, urgent notices right behind it, and then until all have it.
async fn announce(
    context: &Arc<Context>,
    crier: &Handle,
    people: &[Arc<Handle>],
    started: Instant,
    urgent: &mut [u64],
    number: u32,
) -> Result<(), Failure> {
    let before = context.metrics.of(Metric::Notify).count();
    let urgent_before = context.metrics.of(Metric::Urgent).count();
    let title = stamp(started.elapsed());
    crier.client.notify(Recipients::Everyone, &title, false).await?;
    let first = number as usize * URGENT_USERS;
    let few: Vec<usize> = (0..URGENT_USERS.min(people.len())).map(|index| (first + index) % people.len()).collect();
    let users: Vec<UserId> = few.iter().map(|index| people[*index].user.clone()).collect();
    let urgent_title = stamp(started.elapsed());
    crier.client.notify(Recipients::Users(users.clone()), &urgent_title, true).await?;
    few.iter().for_each(|index| urgent[*index] += 1);
    context.record(|recorder| {
        people.iter().for_each(|handle| recorder.owes(&handle.user, &title));
        users.iter().for_each(|user| recorder.owes(user, &urgent_title));
    });
    let wanted = (people.len() as u64, few.len() as u64);
    let came = || {
        let metrics = &context.metrics;
        (metrics.of(Metric::Notify).count() - before, metrics.of(Metric::Urgent).count() - urgent_before)
    };
    let (mut last, mut since) = (came(), Instant::now());
    while (last.0 < wanted.0 || last.1 < wanted.1) && since.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = came();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// Asks people how many notifications are unread.
pub(super) async fn ask(context: &Arc<Context>, people: Vec<(Arc<Handle>, u64)>) -> Result<(), Failure> {
    for_all(people, |(handle, counted)| {
        let context = Arc::clone(context);
        async move {
            let told = handle.client.notifications().await?.unread;
            context.record(|recorder| recorder.unread(&handle.user, told, counted));
            Ok(())
        }
    })
    .await?;
    Ok(())
}
