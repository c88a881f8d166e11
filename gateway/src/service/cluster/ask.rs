//! Questions between nodes, each answered or given up within [`ASK_TIMEOUT`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use hallway_protocol::UserId;
use tokio::sync::{Semaphore, oneshot};

use super::frames::{self, Answered, Question};
use super::{Cluster, NodeId};
use crate::bus::Channel;
use crate::tasks::Tasks;

/// How long a node may take for an answer.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// Questions of this node that wait for an answer; more are not asked.
const ASKED_MAX: usize = 1_024;
/// Questions of others that are being answered here; more are not heard.
const ANSWERING_MAX: usize = 64;

/// What questions are about. Released numbers never change.
pub mod topic {
    /// The sessions of a person at a node.
    pub const SESSIONS: u16 = 1;
}

/// Answers the questions of one topic.
#[async_trait]
pub trait Answerer: Send + Sync {
    /// Answers one; whoever asked waits for half a second.
    async fn answer(&self, question: Bytes) -> Bytes;
}

/// What several nodes answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    pub answers: Vec<(NodeId, Bytes)>,
    /// Every node that was asked answered.
    pub is_complete: bool,
}

struct Waiting {
    node: NodeId,
    reply: oneshot::Sender<Option<Bytes>>,
}

/// What this node asked, and what it can answer.
pub(super) struct Asked {
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
    answerers: Mutex<HashMap<u16, Arc<dyn Answerer>>>,
    answering: Arc<Semaphore>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            next_id: AtomicU64::new(1),
            waiting: Mutex::default(),
            answerers: Mutex::default(),
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
        }
    }
}

impl Asked {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer came; one that nobody waits for, or that another node gives than was asked, is ignored.
    pub(super) fn answered(&self, from: NodeId, answered: Answered) {
        let mut table = self.waiting();
        if table.get(&answered.id).is_some_and(|waiting| waiting.node == from)
            && let Some(waiting) = table.remove(&answered.id)
        {
            // Who asked may have given up at this moment.
            let _ = waiting.reply.send(answered.body.map(Bytes::from));
        }
    }

    fn answerer(&self, topic: u16) -> Option<Arc<dyn Answerer>> {
        self.answerers.lock().unwrap_or_else(PoisonError::into_inner).get(&topic).map(Arc::clone)
    }
}

impl Cluster {
    /// From now on questions of this topic are answered so. One answerer for each topic.
    pub fn answer(&self, topic: u16, answerer: Arc<dyn Answerer>) {
        self.inner.asked.answerers.lock().unwrap_or_else(PoisonError::into_inner).insert(topic, answerer);
    }

    /// Asks another node. `None`: no answer in time, or none at all.
    pub async fn ask(&self, node: NodeId, topic: u16, question: Bytes) -> Option<Bytes> {
        let asked = &self.inner.asked;
        let id = asked.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        {
            let mut table = asked.waiting();
            if self.inner.way.is_none() || table.len() >= ASKED_MAX {
                return None;
            }
            table.insert(id, Waiting { node, reply });
        }
        let question = Question { id, topic, body: question.to_vec() };
        self.send(Channel::Node(node), frames::question(&question));
        // Given up, by time or by whoever dropped this call: the place in the table is given back.
        let _place = Place { asked, id };
        tokio::time::timeout(ASK_TIMEOUT, answer).await.ok()?.ok()?
    }

    /// Asks every other node where somebody has sockets, all at once.
    pub async fn ask_nodes_of(&self, user: &UserId, topic: u16, question: Bytes) -> Answers {
        let nodes = self.nodes_of(user);
        let asked = nodes.iter().map(|node| self.ask(*node, topic, question.clone()));
        let answers: Vec<(NodeId, Bytes)> =
            nodes.iter().zip(join_all(asked).await).filter_map(|(node, answer)| Some((*node, answer?))).collect();
        Answers { is_complete: answers.len() == nodes.len(), answers }
    }
}

struct Place<'a> {
    asked: &'a Asked,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.asked.waiting().remove(&self.id);
    }
}

/// Another node asks: answered in a task of its own.
pub(super) fn heard_question(cluster: &Cluster, from: NodeId, question: Question, tasks: &Tasks) {
    let Question { id, topic, body } = question;
    let Some(answerer) = cluster.inner.asked.answerer(topic) else {
        cluster.send(Channel::Node(from), frames::answer(&Answered { id, body: None }));
        return;
    };
    // Whoever asks more than can be answered runs into the time limit.
    let Ok(permit) = Arc::clone(&cluster.inner.asked.answering).try_acquire_owned() else { return };
    let cluster = cluster.clone();
    tasks.spawn(async move {
        let _permit = permit;
        if let Ok(body) = tokio::time::timeout(ASK_TIMEOUT, answerer.answer(Bytes::from(body))).await {
            let answered = Answered { id, body: Some(body.to_vec()) };
            cluster.send(Channel::Node(from), frames::answer(&answered));
        }
    });
}
