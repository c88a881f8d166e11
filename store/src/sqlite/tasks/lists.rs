//! Lists of tasks. A list goes along an index once for each status and priority that it may hold, takes at most a page from
//! each, and of these the first: so it reads a few pages of rows however many tasks there are. The statement is put together
//! from constants; what comes from outside is bound.

use std::fmt::Write;

use hallway_protocol::command::TaskOrder;
use hallway_protocol::task::{Priority, TaskStatus};
use hallway_protocol::{RoomId, UserId};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::rows::{TASK_COLUMN_COUNT, bytes, has, priority_number, read_task, status_number, task_columns};
use crate::sqlite::tables::{get_room, int};
use crate::{StoreError, TaskQuery, TasksPage};

const PRIORITIES: [Priority; 4] = [Priority::Urgent, Priority::High, Priority::Normal, Priority::Low];

/// A statement that is being put together.
struct Statement {
    text: String,
    values: Vec<Value>,
}

impl Statement {
    /// The place of a value.
    fn bind(&mut self, value: Value) -> String {
        let place = self.values.iter().position(|known| *known == value).unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        });
        format!("?{}", place + 1)
    }

    fn bind_text(&mut self, text: &str) -> String {
        self.bind(Value::Text(text.to_owned()))
    }

    fn bind_number(&mut self, number: u64) -> String {
        self.bind(Value::Integer(int(number)))
    }
}

/// How the rows are ordered: by the page's columns.
fn order(order: TaskOrder) -> &'static str {
    match order {
        TaskOrder::Newest => "id DESC",
        TaskOrder::Due => "rank, id",
        TaskOrder::Priority => "rank DESC, id DESC",
    }
}

/// The same by the columns of the index that a branch goes along.
fn order_along(order: TaskOrder, id: &str) -> String {
    match order {
        TaskOrder::Due => format!("due_at_ms, {id}"),
        TaskOrder::Newest | TaskOrder::Priority => format!("{id} DESC"),
    }
}

/// What a branch goes along beside its status.
fn priorities(query: &TaskQuery) -> Vec<Option<Priority>> {
    match (query.order, query.priority) {
        (TaskOrder::Due, priority) => vec![priority],
        (_, Some(priority)) => vec![Some(priority)],
        (_, None) => PRIORITIES.into_iter().map(Some).collect(),
    }
}

/// The rows of one status and priority that come after the page before. `None`: there can be none.
fn branch(
    sql: &mut Statement,
    asker: &UserId,
    query: &TaskQuery,
    status: TaskStatus,
    priority: Option<Priority>,
) -> Option<String> {
    let id = if query.assignee.is_some() { "task" } else { "id" };
    let by_due = query.order == TaskOrder::Due;
    let rank = match (query.order, priority) {
        (TaskOrder::Due, _) => "due_at_ms".to_owned(),
        (TaskOrder::Priority, Some(priority)) => priority_number(priority).to_string(),
        _ => "0".to_owned(),
    };
    let mut text = format!("SELECT room, {id} AS id, {rank} AS rank FROM ");
    let room = query.room.as_ref().map(|room| sql.bind_text(room.as_str()));
    let of_room = room.map(|room| format!("(SELECT number FROM rooms WHERE id = {room})"));
    match (&query.assignee, of_room) {
        (Some(assignee), of_room) => {
            let index = if by_due { "task_assignees_by_due" } else { "task_assignees_by_status" };
            let user = sql.bind_text(assignee.as_str());
            let _ = write!(text, "task_assignees a INDEXED BY {index} WHERE user = {user}");
            let _ = match of_room {
                Some(room) => write!(text, " AND room = {room}"),
                None => {
                    let asker = sql.bind_text(asker.as_str());
                    write!(
                        text,
                        " AND EXISTS (SELECT 1 FROM rooms r JOIN members m ON m.room = r.id AND m.user = {asker}
                          WHERE r.number = a.room)"
                    )
                }
            };
        }
        (None, of_room) => {
            let index = if by_due { "tasks_by_due" } else { "tasks_by_status" };
            // Without a room and an assignee there is nothing to list.
            let room = of_room?;
            let _ = write!(text, "tasks INDEXED BY {index} WHERE room = {room} AND deleted = 0");
        }
    }
    let _ = write!(text, " AND status = {}", status_number(status));
    if let Some(priority) = priority {
        let _ = write!(text, " AND priority = {}", priority_number(priority));
    }
    if by_due || query.due_from_ms.is_some() || query.due_until_ms.is_some() {
        text.push_str(" AND due_at_ms IS NOT NULL");
    }
    if let Some(from) = query.due_from_ms {
        let _ = write!(text, " AND due_at_ms >= {}", sql.bind_number(from));
    }
    if let Some(until) = query.due_until_ms {
        let _ = write!(text, " AND due_at_ms < {}", sql.bind_number(until));
    }
    if let Some(after) = query.after {
        let last = sql.bind(Value::Blob(bytes(after.id).to_vec()));
        let of_priority = priority.map_or(0, priority_number);
        let _ = match query.order {
            TaskOrder::Due => write!(text, " AND (due_at_ms, {id}) > ({}, {last})", sql.bind_number(after.rank)),
            TaskOrder::Newest => write!(text, " AND {id} < {last}"),
            TaskOrder::Priority if of_priority == int(after.rank) => write!(text, " AND {id} < {last}"),
            TaskOrder::Priority if of_priority > int(after.rank) => return None,
            TaskOrder::Priority => Ok(()),
        };
    }
    let limit = sql.bind_number(u64::from(query.limit) + 1);
    let _ = write!(text, " ORDER BY {} LIMIT {limit}", order_along(query.order, id));
    Some(text)
}

/// The whole statement: a page of (room, id, rank), and then the tasks of it. With a room its first row is there for every member,
/// without a task where there is none.
fn statement(asker: &UserId, query: &TaskQuery) -> Statement {
    let mut sql = Statement { text: String::new(), values: Vec::new() };
    let mut status = if query.status.is_empty() { TaskStatus::ALL.to_vec() } else { query.status.clone() };
    status.sort_unstable();
    status.dedup();
    let mut branches = Vec::new();
    for status in status {
        for priority in priorities(query) {
            branches.extend(branch(&mut sql, asker, query, status, priority));
        }
    }
    if branches.is_empty() {
        branches.push("SELECT NULL AS room, NULL AS id, NULL AS rank WHERE 0".to_owned());
    }
    let branches: Vec<String> = branches.into_iter().map(|branch| format!("SELECT * FROM ({branch})")).collect();
    let (order, limit) = (order(query.order), sql.bind_number(u64::from(query.limit) + 1));
    let page = format!("(SELECT * FROM ({}) ORDER BY {order} LIMIT {limit})", branches.join("\nUNION ALL "));
    let (columns, task) = (task_columns!(), "tasks t ON t.room = p.room AND t.id = p.id");
    sql.text = match &query.room {
        Some(room) => {
            let (asker, room) = (sql.bind_text(asker.as_str()), sql.bind_text(room.as_str()));
            format!(
                "SELECT {columns}, m.room FROM members m LEFT JOIN {page} p LEFT JOIN {task}
                 WHERE m.room = {room} AND m.user = {asker} ORDER BY {}",
                order.replace("id", "p.id")
            )
        }
        None => format!(
            "SELECT {columns}, r.id FROM {page} p CROSS JOIN {task} JOIN rooms r ON r.number = p.room ORDER BY {}",
            order.replace("id", "p.id")
        ),
    };
    sql
}

pub(super) fn list(
    connection: &Connection,
    asker: &UserId,
    query: &TaskQuery,
) -> Result<Option<TasksPage>, StoreError> {
    let Statement { text, values } = statement(asker, query);
    let mut statement = connection.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut member, mut tasks) = (query.room.is_none(), Vec::new());
    while let Some(row) = rows.next()? {
        member = true;
        if has::<[u8; 16]>(row, 0)? {
            let room: RoomId = get_room(row, TASK_COLUMN_COUNT)?;
            tasks.push(read_task(row, 0, room)?);
        }
    }
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = tasks.len() > limit;
    tasks.truncate(limit);
    Ok(member.then_some(TasksPage { tasks, more }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use hallway_protocol::TaskId;

    use super::*;
    use crate::TaskKey;

    fn queries() -> Vec<TaskQuery> {
        let (room, assignee) = (Some(RoomId::new("room").unwrap()), Some(UserId::new("bob").unwrap()));
        let mut queries = Vec::new();
        for (room, assignee) in [(room.clone(), None), (None, assignee.clone()), (room, assignee)] {
            for order in [TaskOrder::Newest, TaskOrder::Due, TaskOrder::Priority] {
                for after in [None, Some(TaskKey { rank: 3, id: TaskId::generate() })] {
                    for (priority, due) in [(None, None), (Some(Priority::High), Some(5))] {
                        queries.push(TaskQuery {
                            room: room.clone(),
                            assignee: assignee.clone(),
                            status: Vec::new(),
                            priority,
                            due_from_ms: due,
                            due_until_ms: due,
                            order,
                            after,
                            limit: 50,
                        });
                    }
                }
            }
        }
        queries
    }

    fn plan(connection: &Connection, text: &str, values: &[Value]) -> Vec<String> {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        for (place, value) in (1..=explain.parameter_count()).zip(values) {
            explain.raw_bind_parameter(place, value).unwrap();
        }
        let mut rows = explain.raw_query();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            lines.push(row.get(3).unwrap());
        }
        lines
    }

    #[test]
    fn no_list_scans_a_table_or_sorts_more_than_a_page_of_each_branch() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../../migrations/sqlite/V1__rooms_and_messages.sql")).unwrap();
        connection.execute_batch(include_str!("../../../migrations/sqlite/V3__tasks.sql")).unwrap();
        let asker = UserId::new("ann").unwrap();
        for query in queries() {
            let mut sql = Statement { text: String::new(), values: Vec::new() };
            let priority = priorities(&query).pop().unwrap();
            let branch = branch(&mut sql, &asker, &query, TaskStatus::Open, priority).unwrap();
            for line in plan(&connection, &branch, &sql.values) {
                assert!(!line.starts_with("SCAN") && !line.contains("TEMP"), "{line} in {branch}");
            }
            let Statement { text, values } = statement(&asker, &query);
            let lines = plan(&connection, &text, &values);
            for line in &lines {
                let small = ["SCAN (subquery", "SCAN p"].iter().any(|small| line.starts_with(small));
                assert!(small || !line.starts_with("SCAN"), "{line} in {text}");
            }
            assert!(lines.iter().any(|line| line.starts_with("SEARCH t USING PRIMARY KEY")), "{lines:?}");
        }
    }
}
