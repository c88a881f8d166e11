//! A store that is slow or fails when it is told to, around a real one.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hallway_protocol::{Epoch, RoomId, StreamId, UserId};
use hallway_store::{
    AudienceBatch, AuditPage, AuditQuery, BanQuery, BansPage, CommitBatch, ConnectState, Durability, Ending, HeadBatch,
    HistoryQuery, Log, Mark, MarkBatch, MemberQuery, MembersPage, MessagesPage, PageBatch, PageRequest, People,
    RoomQuery, RoomView, Rooms, RoomsPage, Store, StoreError, StreamHead, Tail, TailCursor, Upkeep, Write,
};
use tokio::sync::watch;

/// What commits come to from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commits {
    Work,
    /// Those that wait go on waiting.
    WorkForNewOnes,
    /// Nothing is handed over until commits work again.
    WaitBefore,
    /// It is committed, and the answer waits until commits work again.
    WaitAfter,
    /// Nothing is handed over: definite.
    FailBefore,
    /// It is committed, and the answer is lost: unknown.
    FailAfter,
}

/// See the module.
pub(crate) struct FaultStore {
    inner: Arc<dyn Store>,
    commits: watch::Sender<Commits>,
    pages_work: watch::Sender<bool>,
    entered: watch::Sender<usize>,
    page_requests: Mutex<Vec<PageRequest>>,
}

impl FaultStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            commits: watch::Sender::new(Commits::Work),
            pages_work: watch::Sender::new(true),
            entered: watch::Sender::new(0),
            page_requests: Mutex::default(),
        }
    }

    pub(crate) fn commits(&self, commits: Commits) {
        self.commits.send_replace(commits);
    }

    /// Pages are read, or wait.
    pub(crate) fn pages_work(&self, work: bool) {
        self.pages_work.send_replace(work);
    }

    /// Waits until so many batches in all have been begun.
    pub(crate) async fn batches_begun(&self, count: usize) {
        self.entered.subscribe().wait_for(|entered| *entered >= count).await.unwrap();
    }

    pub(crate) fn batches(&self) -> usize {
        *self.entered.borrow()
    }

    /// Pages asked for since the last call.
    pub(crate) fn take_page_requests(&self) -> Vec<PageRequest> {
        std::mem::take(&mut self.page_requests.lock().unwrap())
    }

    /// Commits work from now on, but those that wait go on waiting.
    pub(crate) fn commits_without_release(&self) {
        self.commits.send_replace(Commits::WorkForNewOnes);
    }

    async fn commits_work(&self) {
        self.commits.subscribe().wait_for(|commits| *commits == Commits::Work).await.unwrap();
    }
}

#[async_trait]
impl Log for FaultStore {
    async fn commit(&self, batch: Vec<Write>) -> Result<CommitBatch, StoreError> {
        self.entered.send_modify(|entered| *entered += 1);
        let fault = *self.commits.borrow();
        match fault {
            Commits::Work | Commits::WorkForNewOnes => self.inner.commit(batch).await,
            Commits::WaitBefore => {
                self.commits_work().await;
                self.inner.commit(batch).await
            }
            Commits::WaitAfter => {
                let committed = self.inner.commit(batch).await;
                self.commits_work().await;
                committed
            }
            Commits::FailBefore => Err(StoreError::Unavailable("told to fail".into())),
            Commits::FailAfter => {
                self.inner.commit(batch).await?;
                Err(StoreError::OutcomeUnknown("told to forget the answer".into()))
            }
        }
    }

    async fn mark_read(&self, marks: Vec<Mark>) -> Result<MarkBatch, StoreError> {
        self.inner.mark_read(marks).await
    }

    async fn pages(&self, requests: Vec<PageRequest>) -> Result<PageBatch, StoreError> {
        self.page_requests.lock().unwrap().extend(requests.iter().cloned());
        self.pages_work.subscribe().wait_for(|work| *work).await.unwrap();
        self.inner.pages(requests).await
    }

    async fn heads(&self, streams: Vec<StreamId>) -> Result<HeadBatch, StoreError> {
        self.inner.heads(streams).await
    }

    async fn tail(&self, cursor: TailCursor) -> Result<Tail, StoreError> {
        self.inner.tail(cursor).await
    }
}

#[async_trait]
impl Rooms for FaultStore {
    async fn connect(&self, user: &UserId) -> Result<ConnectState, StoreError> {
        self.inner.connect(user).await
    }

    async fn room(&self, user: &UserId, room: &RoomId) -> Result<Option<RoomView>, StoreError> {
        self.inner.room(user, room).await
    }

    async fn list_rooms(&self, user: &UserId, query: RoomQuery) -> Result<RoomsPage, StoreError> {
        self.inner.list_rooms(user, query).await
    }

    async fn members(&self, user: &UserId, query: MemberQuery) -> Result<Option<MembersPage>, StoreError> {
        self.inner.members(user, query).await
    }

    async fn history(&self, user: &UserId, query: HistoryQuery) -> Result<Option<MessagesPage>, StoreError> {
        self.inner.history(user, query).await
    }

    async fn audiences(&self, rooms: Vec<RoomId>, members_max: u32) -> Result<AudienceBatch, StoreError> {
        self.inner.audiences(rooms, members_max).await
    }

    async fn acquaintances(&self, user: &UserId, others: Vec<UserId>) -> Result<Vec<UserId>, StoreError> {
        self.inner.acquaintances(user, others).await
    }
}

#[async_trait]
impl People for FaultStore {
    async fn mute(&self, user: &UserId, room: &RoomId) -> Result<Option<Ending>, StoreError> {
        self.inner.mute(user, room).await
    }

    async fn bans(&self, user: &UserId, query: BanQuery) -> Result<Option<BansPage>, StoreError> {
        self.inner.bans(user, query).await
    }

    async fn audit(&self, viewer: Option<&UserId>, query: AuditQuery) -> Result<Option<AuditPage>, StoreError> {
        self.inner.audit(viewer, query).await
    }

    async fn trim_records(&self) -> Result<bool, StoreError> {
        self.inner.trim_records().await
    }
}

#[async_trait]
impl Upkeep for FaultStore {
    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        self.inner.epoch().await
    }

    async fn new_epoch(&self) -> Result<Epoch, StoreError> {
        self.inner.new_epoch().await
    }

    async fn durability(&self) -> Result<Durability, StoreError> {
        self.inner.durability().await
    }

    async fn trim(&self, stream: &StreamId, keep_from_seq: u64) -> Result<StreamHead, StoreError> {
        self.inner.trim(stream, keep_from_seq).await
    }

    async fn expired(&self, older_than_ms: u64, limit: u32) -> Result<Vec<(StreamId, u64)>, StoreError> {
        self.inner.expired(older_than_ms, limit).await
    }

    async fn trim_nonces(&self) -> Result<bool, StoreError> {
        self.inner.trim_nonces().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
