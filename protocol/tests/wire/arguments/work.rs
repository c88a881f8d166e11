//! The limits of what is said about tasks, notifications and several actions at once.

use hallway_protocol::check::{
    ACKNOWLEDGE_WITHIN_MS, ACTIONS_MAX, ASSIGNEES_MAX, CURSOR_MAX_BYTES, KEY_MAX_BYTES, MENTIONS_MAX, NAME_MAX_BYTES,
    NOTICE_TEXT_MAX_BYTES, PAGE_LIMIT, PHRASE_MAX_BYTES, PHRASES_MAX, READ_MAX, RECIPIENTS_MAX, REPLAY_MAX,
    TEXT_MAX_BYTES, TITLE_MAX_BYTES, WAITS_ON_MAX,
};
use hallway_protocol::position::SEQ_MAX;
use serde_json::{Value, json};

use super::{checked, passes, refused};

const ID: &str = "019b76da-a800-7000-8000-000000000003";

fn with(command: &str, base: Value, fields: &Value) -> Value {
    let mut base = base;
    base.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ command: base })
}

fn create(fields: Value) -> Value {
    with("task.create", json!({"nonce": "n", "room": "a", "title": "t"}), &fields)
}

/// A change of a task, on its version 1.
fn change(command: &str, fields: Value) -> Value {
    with(command, json!({"nonce": "n", "room": "a", "id": ID, "version": 1}), &fields)
}

fn list(fields: Value) -> Value {
    with("task.list", json!({}), &fields)
}

fn notify(fields: Value) -> Value {
    with("notify", json!({"nonce": "n", "to": {"room": "a"}, "title": "t"}), &fields)
}

#[test]
fn a_title_has_1_to_200_bytes_and_no_control_character() {
    let titled = |title: &str| {
        [
            ("task.create", create(json!({ "title": title }))),
            ("task.update", change("task.update", json!({ "title": title }))),
            ("notify", notify(json!({ "title": title }))),
        ]
    };
    titled(&"x".repeat(TITLE_MAX_BYTES)).into_iter().for_each(|(_, command)| passes(command));
    for (name, command) in titled(&"x".repeat(TITLE_MAX_BYTES + 1)) {
        refused(command, &format!("{name}: title has 201 bytes; 1 to 200 are allowed"));
    }
    for (name, command) in titled("") {
        refused(command, &format!("{name}: title has 0 bytes; 1 to 200 are allowed"));
    }
    for (name, command) in titled("a\n") {
        refused(command, &format!("{name}: title has the control character U+000A at byte 1; none is allowed"));
    }
}

#[test]
fn the_text_of_a_task_may_be_empty_and_has_at_most_16_kib() {
    for (name, texted) in
        [("task.create", create as fn(Value) -> Value), ("task.update", |fields| change("task.update", fields))]
    {
        passes(texted(json!({"text": ""})));
        passes(texted(json!({"text": "x".repeat(TEXT_MAX_BYTES)})));
        let beyond = texted(json!({"text": "x".repeat(TEXT_MAX_BYTES + 1)}));
        refused(beyond, &format!("{name}: text has 16385 bytes; 0 to 16384 are allowed"));
        let nul = texted(json!({"text": "\u{0}"}));
        refused(nul, &format!("{name}: text has the character U+0000 at byte 0; it is not allowed"));
    }
}

#[test]
fn a_comment_says_something_and_mentions_at_most_50() {
    let comment =
        |fields: Value| with("task.comment", json!({"nonce": "n", "room": "a", "id": ID, "text": "t"}), &fields);
    passes(comment(json!({"text": "x".repeat(TEXT_MAX_BYTES), "mentions": vec!["ben"; MENTIONS_MAX]})));
    refused(comment(json!({"text": ""})), "task.comment: text has 0 bytes; 1 to 16384 are allowed");
    refused(
        comment(json!({"mentions": vec!["ben"; MENTIONS_MAX + 1]})),
        "task.comment: mentions has 51 entries; at most 50 are allowed",
    );
}

#[test]
fn a_task_has_at_most_50_assignees_and_waits_on_at_most_50() {
    passes(create(json!({"assignees": vec!["ben"; ASSIGNEES_MAX], "waits_on": vec![ID; WAITS_ON_MAX]})));
    refused(
        create(json!({"assignees": vec!["ben"; ASSIGNEES_MAX + 1]})),
        "task.create: assignees has 51 entries; at most 50 are allowed",
    );
    refused(
        create(json!({"waits_on": vec![ID; WAITS_ON_MAX + 1]})),
        "task.create: waits_on has 51 entries; at most 50 are allowed",
    );
    for (command, one) in [("task.assign", "ben"), ("task.depend", ID)] {
        for field in ["add", "remove"] {
            passes(change(command, json!({field: vec![one; ASSIGNEES_MAX]})));
            let beyond = change(command, json!({field: vec![one; ASSIGNEES_MAX + 1]}));
            refused(beyond, &format!("{command}: {field} has 51 entries; at most 50 are allowed"));
        }
        let idle = change(command, json!({}));
        refused(idle, &format!("{command}: nothing to change: give add or remove"));
    }
}

#[test]
fn an_edit_of_a_task_that_changes_nothing_is_refused() {
    for fields in [
        json!({"title": "t"}),
        json!({"text": ""}),
        json!({"priority": "low"}),
        json!({"due": "never"}),
        json!({"meta": {}}),
    ] {
        passes(change("task.update", fields));
    }
    refused(
        change("task.update", json!({})),
        "task.update: nothing to change: give title, text, priority, due or meta",
    );
}

#[test]
fn a_due_time_is_a_number_that_can_be_stored() {
    let beyond = SEQ_MAX + 1;
    let too_large = format!("is {beyond}; at most {SEQ_MAX} (2^53 - 1) is allowed");
    passes(create(json!({"due_at_ms": SEQ_MAX})));
    refused(create(json!({"due_at_ms": beyond})), &format!("task.create: due_at_ms {too_large}"));
    passes(change("task.update", json!({"due": {"at_ms": SEQ_MAX}})));
    refused(change("task.update", json!({"due": {"at_ms": beyond}})), &format!("task.update: due.at_ms {too_large}"));
    for field in ["due_from_ms", "due_until_ms"] {
        passes(list(json!({"room": "a", field: SEQ_MAX})));
        refused(list(json!({"room": "a", field: beyond})), &format!("task.list: {field} {too_large}"));
    }
}

#[test]
fn a_list_of_tasks_is_of_a_room_or_of_somebody() {
    passes(list(json!({"room": "a"})));
    passes(list(json!({"assignee": "ben"})));
    passes(list(
        json!({"room": "a", "assignee": "ben", "status": ["open", "in_progress", "blocked", "done", "cancelled"]}),
    ));
    refused(
        list(json!({"status": ["open"]})),
        "task.list: say of which room or of which assignee: give room, assignee or both",
    );
    refused(
        list(json!({"room": "a", "status": vec!["open"; 6]})),
        "task.list: status has 6 entries; at most 5 are allowed",
    );
}

#[test]
fn every_page_has_1_to_100_entries_and_a_cursor_of_at_most_256_bytes() {
    let pages = |fields: Value| {
        [
            with("task.list", json!({"room": "a"}), &fields),
            with("task.comments", json!({"room": "a", "id": ID}), &fields),
            with("notification.list", json!({}), &fields),
            with("outbox.dead", json!({}), &fields),
        ]
    };
    for edge in [*PAGE_LIMIT.start(), *PAGE_LIMIT.end()] {
        pages(json!({"limit": edge, "cursor": "x".repeat(CURSOR_MAX_BYTES)})).into_iter().for_each(passes);
    }
    for beyond in [0, PAGE_LIMIT.end() + 1] {
        for page in pages(json!({ "limit": beyond })) {
            assert!(checked(page).unwrap_err().ends_with(&format!(": limit is {beyond}; 1 to 100 are allowed")));
        }
    }
    for page in pages(json!({"cursor": "x".repeat(CURSOR_MAX_BYTES + 1)})) {
        assert!(checked(page).unwrap_err().ends_with(": cursor has 257 bytes; 1 to 256 are allowed"));
    }
}

#[test]
fn at_most_100_notifications_are_marked_by_name_and_at_least_one() {
    let read = |fields: Value| with("notification.read", json!({"nonce": "n"}), &fields);
    passes(read(json!({"ids": vec![ID; READ_MAX]})));
    passes(read(json!({"up_to_seq": SEQ_MAX})));
    refused(
        read(json!({"ids": vec![ID; READ_MAX + 1]})),
        "notification.read: ids has 101 entries; at most 100 are allowed",
    );
    refused(read(json!({})), "notification.read: nothing to mark: give ids or up_to_seq");
    refused(
        read(json!({"up_to_seq": SEQ_MAX + 1})),
        &format!("notification.read: up_to_seq is {}; at most {SEQ_MAX} (2^53 - 1) is allowed", SEQ_MAX + 1),
    );
}

#[test]
fn quiet_hours_are_minutes_of_a_day_in_a_zone_that_exists() {
    let quiet = |from: u16, to: u16, offset: i16| {
        let hours = json!({"from_minute": from, "to_minute": to, "utc_offset_minutes": offset});
        json!({"notification.quiet": {"nonce": "n", "hours": hours}})
    };
    passes(quiet(0, 1_439, -720));
    passes(quiet(1_439, 0, 840));
    passes(json!({"notification.quiet": {"nonce": "n", "hours": null}}));
    refused(quiet(1_440, 0, 0), "notification.quiet: hours.from_minute is 1440; 0 to 1439 are allowed");
    refused(quiet(0, 1_440, 0), "notification.quiet: hours.to_minute is 1440; 0 to 1439 are allowed");
    for beyond in [-721, 841] {
        let message = format!("notification.quiet: hours.utc_offset_minutes is {beyond}; -720 to 840 are allowed");
        refused(quiet(0, 1, beyond), &message);
    }
}

#[test]
fn a_notice_names_1_to_1000_people_and_has_at_most_4_kib_of_text() {
    let to = |users: Vec<&str>| notify(json!({"to": {"users": users}}));
    passes(to(vec!["ben"; RECIPIENTS_MAX]));
    refused(to(vec!["ben"; RECIPIENTS_MAX + 1]), "notify: to.users has 1001 entries; at most 1000 are allowed");
    refused(to(Vec::new()), "notify: to.users is empty: name at least one");
    passes(notify(json!({"to": "everyone", "text": "x".repeat(NOTICE_TEXT_MAX_BYTES)})));
    refused(
        notify(json!({"text": "x".repeat(NOTICE_TEXT_MAX_BYTES + 1)})),
        "notify: text has 4097 bytes; 0 to 4096 are allowed",
    );
}

#[test]
fn a_key_of_a_notice_has_1_to_64_visible_characters() {
    passes(notify(json!({"key": "~".repeat(KEY_MAX_BYTES)})));
    refused(notify(json!({"key": "~".repeat(KEY_MAX_BYTES + 1)})), "notify: key has 65 bytes; 1 to 64 are allowed");
    refused(notify(json!({"key": ""})), "notify: key has 0 bytes; 1 to 64 are allowed");
    for key in ["a b", "ä", "\u{7f}"] {
        refused(notify(json!({ "key": key })), "notify: key has a character that is not a visible ASCII one");
    }
}

#[test]
fn only_what_is_urgent_waits_to_be_acknowledged_for_a_second_to_a_day() {
    let within = |urgent: bool, within: u64| notify(json!({"urgent": urgent, "acknowledge_within_ms": within}));
    passes(within(true, *ACKNOWLEDGE_WITHIN_MS.start()));
    passes(within(true, *ACKNOWLEDGE_WITHIN_MS.end()));
    for beyond in [999, 86_400_001] {
        let message = format!("notify: acknowledge_within_ms is {beyond}; 1000 to 86400000 are allowed");
        refused(within(true, beyond), &message);
    }
    refused(within(false, 5_000), "notify: acknowledge_within_ms is for urgent ones only: set urgent, or leave it out");
}

#[test]
fn a_name_of_a_person_has_1_to_200_bytes_or_is_none() {
    let named = |name: Value| json!({"profile.set": {"nonce": "n", "name": name}});
    passes(named(json!("x".repeat(NAME_MAX_BYTES))));
    passes(named(Value::Null));
    refused(named(json!("x".repeat(NAME_MAX_BYTES + 1))), "profile.set: name has 201 bytes; 1 to 200 are allowed");
    refused(named(json!("")), "profile.set: name has 0 bytes; 1 to 200 are allowed");
    refused(named(json!("a\u{7}")), "profile.set: name has the control character U+0007 at byte 1; none is allowed");
}

#[test]
fn at_most_100_webhooks_are_replayed_by_number() {
    let replay = |jobs: Vec<u64>| json!({"outbox.replay": {"jobs": jobs}});
    passes(replay(vec![SEQ_MAX; REPLAY_MAX]));
    passes(replay(Vec::new()));
    refused(replay(vec![1; REPLAY_MAX + 1]), "outbox.replay: jobs has 101 entries; at most 100 are allowed");
    refused(
        replay(vec![SEQ_MAX + 1]),
        &format!("outbox.replay: jobs is {}; at most {SEQ_MAX} (2^53 - 1) is allowed", SEQ_MAX + 1),
    );
}

#[test]
fn one_frame_holds_1_to_50_actions_and_says_which_of_them_is_wrong() {
    let actions = |actions: Vec<Value>| json!({"actions": {"atomic": true, "actions": actions}});
    passes(actions(vec![create(json!({})); ACTIONS_MAX]));
    refused(
        actions(vec![create(json!({})); ACTIONS_MAX + 1]),
        "actions: actions has 51 entries; at most 50 are allowed",
    );
    refused(actions(Vec::new()), "actions: actions is empty: give at least one");
    refused(
        actions(vec![create(json!({})), create(json!({"title": ""}))]),
        "actions: actions[1]: task.create: title has 0 bytes; 1 to 200 are allowed",
    );
}

#[test]
fn one_frame_holds_1_to_20_phrases_of_1_to_200_bytes() {
    let resolve = |texts: Vec<String>| {
        let phrases: Vec<Value> = texts.iter().map(|text| json!({ "text": text })).collect();
        json!({"resolve": {"phrases": phrases}})
    };
    passes(resolve(vec!["x".repeat(PHRASE_MAX_BYTES); PHRASES_MAX]));
    refused(resolve(vec!["x".to_owned(); PHRASES_MAX + 1]), "resolve: phrases has 21 entries; at most 20 are allowed");
    refused(resolve(Vec::new()), "resolve: phrases is empty: give at least one");
    refused(resolve(vec!["x".repeat(PHRASE_MAX_BYTES + 1)]), "resolve: text has 201 bytes; 1 to 200 are allowed");
    refused(resolve(vec![String::new()]), "resolve: text has 0 bytes; 1 to 200 are allowed");
    refused(
        resolve(vec!["\t".to_owned()]),
        "resolve: text has the control character U+0009 at byte 0; none is allowed",
    );
}
