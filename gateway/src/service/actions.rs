//! Several actions in one frame: all of them in one transaction, or one by one.
//!
//! Both go through the writer's queue when they are given here, so they keep their place among the connection's other writes.

use hallway_protocol::command::{ActionItem, ActionResult, Actions, ActionsDone};
use hallway_protocol::{Command, ErrorBody, Reply};
use tokio::sync::oneshot;

use super::command::{Actor, Answer, later, permit};
use super::writer::{NotTogether, Unwritten, Written};
use super::writes::{Prepared, prepare};
use super::{Service, answers};

/// An action whose result is known, or that is on its way.
enum Slot {
    Known(Box<ActionResult>),
    Queued(oneshot::Receiver<Written>),
}

impl Service {
    pub(super) fn act(&self, actor: &Actor, actions: Actions) -> Answer {
        if actions.atomic { self.act_together(actor, actions) } else { self.act_one_by_one(actor, actions) }
    }

    fn act_together(&self, actor: &Actor, actions: Actions) -> Answer {
        let count = actions.actions.len();
        let mut writes = Vec::with_capacity(count);
        for (at, item) in actions.actions.into_iter().enumerate() {
            match allowed(actor, item) {
                Ok(prepared) => writes.push(prepared.write),
                Err(error) => return Answer::Now(Ok(self.one_failed(count, at, ActionResult::Failed(error)))),
            }
        }
        let answer = match self.inner.writer.submit_together(writes) {
            Ok(answer) => answer,
            Err(error) => return Answer::Now(Err(error)),
        };
        let service = self.clone();
        later(async move {
            match answer.await.map_err(|_| answers::unknown())? {
                Ok(committed) => {
                    let results = committed.into_iter().map(|one| ActionResult::Committed(service.acknowledged(one)));
                    Ok(Reply::Actions(ActionsDone { results: results.collect() }))
                }
                Err(NotTogether::One(at, why)) => Ok(service.one_failed(count, at, failed(why))),
                // Nobody is to blame more than the others: the whole may be repeated.
                Err(NotTogether::All(error)) => Err(error),
            }
        })
    }

    fn act_one_by_one(&self, actor: &Actor, actions: Actions) -> Answer {
        let slots: Vec<Slot> = actions
            .actions
            .into_iter()
            .map(|item| {
                let queued = allowed(actor, item).and_then(|prepared| self.inner.writer.submit(prepared.write));
                queued.map_or_else(|error| Slot::Known(Box::new(ActionResult::Failed(error))), Slot::Queued)
            })
            .collect();
        let service = self.clone();
        later(async move {
            let mut results = Vec::with_capacity(slots.len());
            for slot in slots {
                let result = match slot {
                    Slot::Known(result) => *result,
                    Slot::Queued(answer) => match answer.await {
                        Ok(Ok(committed)) => ActionResult::Committed(service.acknowledged(committed)),
                        Ok(Err(why)) => failed(why),
                        Err(_) => ActionResult::Failed(answers::unknown()),
                    },
                };
                service.count(&result);
                results.push(result);
            }
            Ok(Reply::Actions(ActionsDone { results }))
        })
    }

    /// One of an atomic whole could not be done, and so none was.
    fn one_failed(&self, count: usize, at: usize, why: ActionResult) -> Reply {
        self.count(&why);
        let mut results = vec![ActionResult::Skipped; count];
        if let Some(result) = results.get_mut(at) {
            *result = why;
        }
        Reply::Actions(ActionsDone { results })
    }

    /// An error within an answer is an error that was answered.
    fn count(&self, result: &ActionResult) {
        if let ActionResult::Failed(ErrorBody { code, .. }) = result {
            self.inner.metrics.errors.add(*code);
        }
    }
}

/// An action is what the same command by itself would be.
fn allowed(actor: &Actor, item: ActionItem) -> Result<Prepared, ErrorBody> {
    let command = Command::from(item);
    permit(actor, &command)?;
    prepare(actor, command)
}

fn failed(why: Unwritten) -> ActionResult {
    match why {
        Unwritten::Stale(task) => ActionResult::Stale(*task),
        Unwritten::Error(error) => ActionResult::Failed(error),
    }
}
