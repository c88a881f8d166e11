//! A store that is slow or fails when it is told to, around a real one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hallway_protocol::command::{Candidate, Preferences, TaskSummary};
use hallway_protocol::notification::Trace;
use hallway_protocol::{Epoch, NotificationId, RoomId, StreamId, TaskId, UserId};
use hallway_store::{
    AudienceBatch, AuditPage, AuditQuery, BanQuery, BansPage, CommentQuery, CommentsPage, CommitBatch, ConnectState,
    DeadJobsPage, Delivery, Durability, Ending, HandOut, HandOutFate, HeadBatch, HistoryQuery, Job, JobClaim,
    JobResult, Log, Mark, MarkBatch, MemberQuery, MembersPage, MessagesPage, MissedQuery, NewJob, NotificationQuery,
    NotificationsPage, PageBatch, PageRequest, People, Progress, ResolveQuery, RoomQuery, RoomView, Rooms, RoomsPage,
    Store, StoreError, StreamHead, Tail, TailCursor, TaskQuery, TaskView, TasksPage, TogetherBatch, Upkeep, Write,
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
    /// Events of all pages.
    page_events: AtomicUsize,
    /// Questions about people's rooms and events, each one call.
    reads: AtomicUsize,
    /// Time that each connect takes, one after the other.
    connect_pause: Mutex<std::time::Duration>,
    /// How late what a connect reads is handed over.
    connect_answer_pause: Mutex<std::time::Duration>,
    connecting: tokio::sync::Mutex<()>,
}

impl FaultStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            commits: watch::Sender::new(Commits::Work),
            pages_work: watch::Sender::new(true),
            entered: watch::Sender::new(0),
            page_requests: Mutex::default(),
            page_events: AtomicUsize::default(),
            reads: AtomicUsize::default(),
            connect_pause: Mutex::default(),
            connect_answer_pause: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn commits(&self, commits: Commits) {
        self.commits.send_replace(commits);
    }

    /// Connects take so long from now on, one after the other.
    pub(crate) fn connects_take(&self, pause: std::time::Duration) {
        *self.connect_pause.lock().unwrap() = pause;
    }

    /// What a connect reads is that old from now on when it is handed over.
    #[allow(dead_code, reason = "not every test binary has several nodes")]
    pub(crate) fn connect_answers_take(&self, pause: std::time::Duration) {
        *self.connect_answer_pause.lock().unwrap() = pause;
    }

    /// Pages and histories are read, or wait.
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

    /// How often rooms, pages and heads were asked for since the last call.
    pub(crate) fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }

    fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Pages asked for since the last call.
    pub(crate) fn take_page_requests(&self) -> Vec<PageRequest> {
        std::mem::take(&mut self.page_requests.lock().unwrap())
    }

    /// Events of the pages that were read since the last call.
    pub(crate) fn take_page_events(&self) -> usize {
        self.page_events.swap(0, Ordering::Relaxed)
    }

    /// Commits work from now on, but those that wait go on waiting.
    pub(crate) fn commits_without_release(&self) {
        self.commits.send_replace(Commits::WorkForNewOnes);
    }

    /// A commit, with what it comes to at present.
    async fn faulty<T>(&self, commit: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.entered.send_modify(|entered| *entered += 1);
        let fault = *self.commits.borrow();
        match fault {
            Commits::Work | Commits::WorkForNewOnes => commit.await,
            Commits::WaitBefore => {
                self.commits_work().await;
                commit.await
            }
            Commits::WaitAfter => {
                let committed = commit.await;
                self.commits_work().await;
                committed
            }
            Commits::FailBefore => Err(StoreError::Unavailable("told to fail".into())),
            Commits::FailAfter => {
                commit.await?;
                Err(StoreError::OutcomeUnknown("told to forget the answer".into()))
            }
        }
    }

    async fn pages_may_be_read(&self) {
        self.pages_work.subscribe().wait_for(|work| *work).await.unwrap();
    }

    async fn commits_work(&self) {
        self.commits.subscribe().wait_for(|commits| *commits == Commits::Work).await.unwrap();
    }
}

#[async_trait]
impl Log for FaultStore {
    async fn commit(&self, batch: Vec<Write>) -> Result<CommitBatch, StoreError> {
        self.faulty(self.inner.commit(batch)).await
    }

    async fn commit_together(&self, writes: Vec<Write>) -> Result<TogetherBatch, StoreError> {
        self.faulty(self.inner.commit_together(writes)).await
    }

    fn commits_side_by_side(&self) -> bool {
        self.inner.commits_side_by_side()
    }

    async fn mark_read(&self, marks: Vec<Mark>) -> Result<MarkBatch, StoreError> {
        self.inner.mark_read(marks).await
    }

    async fn pages(&self, requests: Vec<PageRequest>) -> Result<PageBatch, StoreError> {
        self.count_read();
        self.page_requests.lock().unwrap().extend(requests.iter().cloned());
        self.pages_may_be_read().await;
        let batch = self.inner.pages(requests).await?;
        let events: usize = batch.pages.iter().map(|page| page.events.len()).sum();
        self.page_events.fetch_add(events, Ordering::Relaxed);
        Ok(batch)
    }

    async fn heads(&self, streams: Vec<StreamId>) -> Result<HeadBatch, StoreError> {
        self.count_read();
        self.inner.heads(streams).await
    }

    async fn tail(&self, cursor: TailCursor) -> Result<Tail, StoreError> {
        self.inner.tail(cursor).await
    }
}

#[async_trait]
impl Rooms for FaultStore {
    async fn connect_after(&self, user: &UserId, missed: MissedQuery) -> Result<ConnectState, StoreError> {
        self.count_read();
        let pause = *self.connect_pause.lock().unwrap();
        if !pause.is_zero() {
            let _turn = self.connecting.lock().await;
            tokio::time::sleep(pause).await;
        }
        let state = self.inner.connect_after(user, missed).await;
        let pause = *self.connect_answer_pause.lock().unwrap();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        state
    }

    async fn room(&self, user: &UserId, room: &RoomId) -> Result<Option<RoomView>, StoreError> {
        self.count_read();
        self.inner.room(user, room).await
    }

    async fn list_rooms(&self, user: &UserId, query: RoomQuery) -> Result<RoomsPage, StoreError> {
        self.inner.list_rooms(user, query).await
    }

    async fn members(&self, user: &UserId, query: MemberQuery) -> Result<Option<MembersPage>, StoreError> {
        self.inner.members(user, query).await
    }

    async fn history(&self, user: &UserId, query: HistoryQuery) -> Result<Option<MessagesPage>, StoreError> {
        self.pages_may_be_read().await;
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

// Tasks, notifications and webhooks are not made to fail.

#[async_trait]
impl hallway_store::Tasks for FaultStore {
    async fn task(&self, user: &UserId, room: &RoomId, id: TaskId) -> Result<Option<TaskView>, StoreError> {
        self.inner.task(user, room, id).await
    }

    async fn task_comments(&self, user: &UserId, query: CommentQuery) -> Result<Option<CommentsPage>, StoreError> {
        self.inner.task_comments(user, query).await
    }

    async fn list_tasks(&self, user: &UserId, query: TaskQuery) -> Result<Option<TasksPage>, StoreError> {
        self.inner.list_tasks(user, query).await
    }

    async fn task_summary(&self, user: &UserId, room: Option<&RoomId>) -> Result<Option<TaskSummary>, StoreError> {
        self.inner.task_summary(user, room).await
    }

    async fn resolve(&self, user: &UserId, queries: Vec<ResolveQuery>) -> Result<Vec<Vec<Candidate>>, StoreError> {
        self.inner.resolve(user, queries).await
    }
}

#[async_trait]
impl hallway_store::Notifications for FaultStore {
    async fn notifications(&self, user: &UserId, query: NotificationQuery) -> Result<NotificationsPage, StoreError> {
        self.inner.notifications(user, query).await
    }

    async fn preferences(&self, user: &UserId) -> Result<Preferences, StoreError> {
        self.inner.preferences(user).await
    }

    async fn fan_out(&self) -> Result<Progress, StoreError> {
        self.inner.fan_out().await
    }

    async fn fire_due(&self, tasks_max: u32) -> Result<Progress, StoreError> {
        self.inner.fire_due(tasks_max).await
    }

    async fn claim_hand_outs(&self, limit: u32, lease_ms: u64) -> Result<Vec<HandOut>, StoreError> {
        self.inner.claim_hand_outs(limit, lease_ms).await
    }

    async fn settle_hand_outs(
        &self,
        settled: Vec<(NotificationId, HandOutFate)>,
        jobs: Vec<NewJob>,
    ) -> Result<(), StoreError> {
        self.inner.settle_hand_outs(settled, jobs).await
    }

    async fn note_deliveries(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
        self.inner.note_deliveries(deliveries).await
    }

    async fn trace(&self, id: NotificationId) -> Result<Option<Trace>, StoreError> {
        self.inner.trace(id).await
    }
}

#[async_trait]
impl hallway_store::Outbox for FaultStore {
    async fn claim_jobs(&self, claim: JobClaim) -> Result<Vec<Job>, StoreError> {
        self.inner.claim_jobs(claim).await
    }

    async fn finish_jobs(&self, results: Vec<JobResult>) -> Result<(), StoreError> {
        self.inner.finish_jobs(results).await
    }

    async fn dead_jobs(&self, before: Option<u64>, limit: u32) -> Result<DeadJobsPage, StoreError> {
        self.inner.dead_jobs(before, limit).await
    }

    async fn replay_jobs(&self, jobs: Vec<u64>, most: u32) -> Result<u64, StoreError> {
        self.inner.replay_jobs(jobs, most).await
    }

    async fn trim_jobs(&self, done_kept: u32, dead_kept: u32) -> Result<bool, StoreError> {
        self.inner.trim_jobs(done_kept, dead_kept).await
    }
}
