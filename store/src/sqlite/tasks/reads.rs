//! A task with all that belongs to it, its comments, and how many tasks there are.

use hallway_protocol::command::{TaskSummary, TaskWorkload};
use hallway_protocol::task::{Comment, Task};
use hallway_protocol::{RoomId, TaskId, UserId};
use rusqlite::{Connection, params};

use super::rows::{
    TASK_COLUMN_COUNT, bytes, comment_columns, comments_from_json, has, read_comment, read_task, task_columns,
};
use crate::sqlite::tables::{get, get_u64, get_user, int};
use crate::{COMMENTS_WITH_TASK, CommentQuery, CommentsPage, StoreError, TaskView, WORKLOADS_MAX};

pub(super) fn task(
    connection: &Connection,
    user: &UserId,
    room: &RoomId,
    id: TaskId,
) -> Result<Option<TaskView>, StoreError> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        task_columns!(),
        ", CASE wanted.turn WHEN 0 THEN
             (SELECT json_group_array(json_array(hex(said.id), said.seq, said.sender, said.at_ms, said.text,
                                                 json(ifnull(said.mentions, '[]'))))
              FROM (SELECT * FROM task_comments WHERE room = t.room AND task = t.id ORDER BY seq DESC LIMIT ?4) said) END,
             EXISTS (SELECT 1 FROM task_followers f WHERE f.room = t.room AND f.task = t.id AND f.user = ?1)
         FROM members m JOIN rooms r ON r.id = m.room
         CROSS JOIN (SELECT 0 AS turn, ?3 AS id
                     UNION ALL SELECT 1, d.waits_on FROM rooms o JOIN task_dependencies d ON d.room = o.number AND d.task = ?3
                     WHERE o.id = ?2) wanted
         JOIN tasks t ON t.room = r.number AND t.id = wanted.id WHERE m.room = ?2 AND m.user = ?1"
    ))?;
    let mut rows = statement.query(params![user.as_str(), room.as_str(), bytes(id), COMMENTS_WITH_TASK + 1])?;
    let (mut seen, mut waits_on) = (None, Vec::<Task>::new());
    while let Some(row) = rows.next()? {
        let task = read_task(row, 0, room.clone())?;
        match get::<Option<String>>(row, TASK_COLUMN_COUNT)? {
            Some(comments) => {
                seen = Some((task, comments_from_json(&comments, id)?, get(row, TASK_COLUMN_COUNT + 1)?));
            }
            None => waits_on.push(task),
        }
    }
    waits_on.sort_unstable_by_key(|task| task.id);
    Ok(seen.map(|(task, newest_first, following)| {
        let CommentsPage { comments, older } = page(newest_first, COMMENTS_WITH_TASK);
        TaskView { task, waits_on, comments, older, following }
    }))
}

/// The newest of comments that are given newest first, one more than asked for where there are more.
fn page(mut comments: Vec<Comment>, limit: u32) -> CommentsPage {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let older = comments.len() > limit;
    comments.truncate(limit);
    comments.reverse();
    CommentsPage { comments, older }
}

pub(super) fn comments(
    connection: &Connection,
    user: &UserId,
    query: &CommentQuery,
) -> Result<Option<CommentsPage>, StoreError> {
    // A task without such comments is one row without any.
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        comment_columns!(),
        " FROM members m JOIN rooms r ON r.id = m.room JOIN tasks t ON t.room = r.number AND t.id = ?3
         LEFT JOIN task_comments c ON c.room = t.room AND c.task = t.id AND c.seq < ?4
         WHERE m.room = ?2 AND m.user = ?1 ORDER BY c.seq DESC LIMIT ?5"
    ))?;
    let (before, limit) = (query.before.map_or(i64::MAX, int), i64::from(query.limit) + 1);
    let mut rows = statement.query(params![user.as_str(), query.room.as_str(), bytes(query.task), before, limit])?;
    let (mut there, mut comments) = (false, Vec::new());
    while let Some(row) = rows.next()? {
        there = true;
        if has::<i64>(row, 2)? {
            comments.push(read_comment(row, 0)?);
        }
    }
    Ok(there.then(|| page(comments, query.limit)))
}

const NOTHING: TaskSummary =
    TaskSummary { open: 0, in_progress: 0, blocked: 0, done: 0, cancelled: 0, overdue: 0, assignees: Vec::new() };

pub(super) fn summary(
    connection: &Connection,
    now_ms: u64,
    user: &UserId,
    room: Option<&RoomId>,
) -> Result<Option<TaskSummary>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM (WITH mine AS MATERIALIZED (SELECT r.number AS number FROM members m JOIN rooms r ON r.id = m.room
                                   WHERE m.user = ?1 AND (?2 IS NULL OR m.room = ?2))
         SELECT 10 AS what, NULL, (SELECT count(*) FROM mine), 0
         UNION ALL
         SELECT t.status, NULL, count(*), 0 FROM mine CROSS JOIN tasks t INDEXED BY tasks_by_status
         WHERE t.room = mine.number AND t.deleted = 0 GROUP BY t.status
         UNION ALL
         SELECT 11, NULL, count(*), 0 FROM mine CROSS JOIN tasks t INDEXED BY tasks_by_due
         WHERE t.room = mine.number AND t.deleted = 0 AND t.due_at_ms IS NOT NULL AND t.status IN (0, 1, 2)
         AND t.due_at_ms < ?3
         UNION ALL
         SELECT * FROM (SELECT 12, a.user, count(*) AS unfinished, ifnull(sum(a.due_at_ms < ?3), 0)
                        FROM mine CROSS JOIN task_assignees a INDEXED BY task_assignees_at_work
                        WHERE a.room = mine.number AND a.status < 3 GROUP BY a.user
                        ORDER BY unfinished DESC, a.user LIMIT ?4))",
    )?;
    let room_id = room.map(RoomId::as_str);
    let mut rows = statement.query(params![user.as_str(), room_id, int(now_ms), WORKLOADS_MAX])?;
    let (mut summary, mut rooms) = (NOTHING, 0);
    while let Some(row) = rows.next()? {
        let count = get_u64(row, 2)?;
        match get::<i64>(row, 0)? {
            0 => summary.open = count,
            1 => summary.in_progress = count,
            2 => summary.blocked = count,
            3 => summary.done = count,
            4 => summary.cancelled = count,
            10 => rooms = count,
            11 => summary.overdue = count,
            _ => summary.assignees.push(TaskWorkload {
                user: get_user(row, 1)?,
                unfinished: count,
                overdue: get_u64(row, 3)?,
            }),
        }
    }
    Ok((room.is_none() || rooms > 0).then_some(summary))
}
