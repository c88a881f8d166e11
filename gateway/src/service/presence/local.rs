//! The directory of a node that is alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::directory::{Devices, Directory, Told};
use crate::hub::{Hub, PeopleWatch};
use crate::tasks::Tasks;

/// Nobody else is there, so no lease ends.
const NODE_LEASE: Duration = Duration::from_secs(10);

/// The directory, and whose presence changed.
#[derive(Clone)]
pub(in crate::service) struct Local {
    inner: Arc<(Mutex<Directory>, PeopleWatch)>,
}

impl Local {
    pub(in crate::service) fn start(hub: &Hub, tasks: &Tasks) -> Self {
        let local = Self { inner: Arc::new((Mutex::new(Directory::new(NODE_LEASE)), PeopleWatch::default())) };
        let (people, hub, tasks_of_run, run) = (hub.watch_people(), hub.clone(), tasks.clone(), local.clone());
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = people.filled() => {}
                    () = tasks_of_run.stopped() => return,
                }
                for user in people.take().people {
                    let (devices, away) = hub.devices_of(&user);
                    let short = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
                    let devices = Devices { devices: short(devices), away: short(away) };
                    let told = run.in_directory(|directory| {
                        let told = directory.set_own(&user, devices);
                        while directory.delta().is_some() {}
                        told
                    });
                    for told in told {
                        if let Told::Changed(user) = told {
                            run.inner.1.note(&user);
                        }
                    }
                }
            }
        });
        local
    }

    /// Looks something up in the directory, or says something to it.
    pub(super) fn in_directory<T>(&self, look: impl FnOnce(&mut Directory) -> T) -> T {
        look(&mut self.inner.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Collects those whose presence changed.
    pub(super) fn presence_watch(&self) -> &PeopleWatch {
        &self.inner.1
    }
}
