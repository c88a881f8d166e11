//! Messages as they are now.

use hallway_protocol::event::{MessageCreated, MessageDeleted, MessageEdited, MessageReacted};
use hallway_protocol::{EventBody, History, MessageId, Meta, Role, Visibility};

use super::kit::{self, Shared, channel, commit, edit, one, react, room_events, send, send_as, try_one, write};
use crate::{Action, HistoryFrom, HistoryQuery, REACTIONS_MAX_PER_MESSAGE, Refusal};

pub async fn events_show_messages_as_they_are_now(store: Shared) {
    let ann = kit::user("now", "ann");
    let room = kit::room("now", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let id: MessageId = one(&store, &ann, send(&room, "first")).await.id.unwrap().into();
    let edited = one(&store, &ann, edit(&room, id, "second")).await;
    let update = Action::UpdateRoom { room: room.clone(), name: Some("Named".to_owned()), visibility: None };
    one(&store, &ann, update).await;
    let events = room_events(&store, &room).await;
    let EventBody::RoomCreated(created) = &events[0].body else { panic!("{events:?}") };
    assert_eq!(created.info.name.as_deref(), Some("Named"));
    let EventBody::MessageCreated(MessageCreated { message }) = &events[2].body else { panic!("{events:?}") };
    assert_eq!((message.text.as_str(), message.version, message.seq, message.ordinal), ("second", 2, 3, 1));
    assert_eq!(message.edited_at_ms, Some(edited.at_ms));
    assert_eq!(events[3], edited.events[0]);
    let EventBody::MessageEdited(MessageEdited { message: again }) = &events[3].body else { panic!("{events:?}") };
    assert_eq!(again, message);
}

pub async fn deleted_text_is_gone_everywhere(store: Shared) {
    let (ann, bob) = (kit::user("gone", "ann"), kit::user("gone", "bob"));
    let room = kit::room("gone", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let id = MessageId::generate();
    let meta = Meta::from_json(r#"{"key":"SECRET"}"#).ok();
    let sent = Action::SendMessage {
        room: room.clone(),
        id,
        text: "SECRET".to_owned(),
        reply_to: None,
        mentions: vec![bob],
        meta,
    };
    one(&store, &ann, sent).await;
    one(&store, &ann, edit(&room, id, "SECRET again")).await;
    one(&store, &ann, react(&room, id, "+1")).await;
    let deleted = one(&store, &ann, Action::DeleteMessage { room: room.clone(), id }).await;
    let body = EventBody::MessageDeleted(MessageDeleted { id, version: 3, by: ann.clone() });
    assert_eq!(deleted.events[0].body, body);
    let events = room_events(&store, &room).await;
    assert_eq!(events.last().unwrap().body, body);
    assert!(!format!("{events:?}").contains("SECRET"));
    let query = HistoryQuery { room: room.clone(), from: HistoryFrom::Before(None), limit: 10 };
    let page = store.history(&ann, query).await.unwrap().unwrap();
    let tombstone = &page.messages[0];
    assert!(tombstone.deleted && tombstone.text.is_empty() && tombstone.meta.is_none());
    assert!(tombstone.mentions.is_empty() && tombstone.reactions.is_empty());
    assert_eq!((tombstone.version, tombstone.seq, tombstone.ordinal), (3, 3, 1));
    for action in [edit(&room, id, "back"), react(&room, id, "+1"), Action::DeleteMessage { room: room.clone(), id }] {
        assert_eq!(try_one(&store, &ann, action).await, Err(Refusal::MessageDeleted));
    }
    assert_eq!(try_one(&store, &ann, send_as(&room, id, "reuse")).await, Err(Refusal::IdTaken));
}

pub async fn an_edit_on_an_old_version_is_refused(store: Shared) {
    let ann = kit::user("version", "ann");
    let room = kit::room("version", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let id: MessageId = one(&store, &ann, send(&room, "first")).await.id.unwrap().into();
    let on = |version| Action::EditMessage {
        room: room.clone(),
        id,
        text: "new".to_owned(),
        mentions: Vec::new(),
        meta: None,
        version: Some(version),
    };
    one(&store, &ann, on(1)).await;
    assert_eq!(try_one(&store, &ann, on(1)).await, Err(Refusal::VersionConflict { current: 2 }));
    one(&store, &ann, on(2)).await;
}

pub async fn reactions_are_put_and_taken_once(store: Shared) {
    let (ann, bob) = (kit::user("react", "ann"), kit::user("react", "bob"));
    let room = kit::room("react", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    one(&store, &bob, Action::Join { room: room.clone() }).await;
    let id: MessageId = one(&store, &ann, send(&room, "text")).await.id.unwrap().into();
    let take = |emoji: &str| Action::React { room: room.clone(), id, emoji: emoji.to_owned(), remove: true };
    let put = one(&store, &bob, react(&room, id, "+1")).await;
    let body = MessageReacted { id, user: bob.clone(), emoji: "+1".to_owned(), removed: false };
    assert_eq!(put.events[0].body, EventBody::MessageReacted(body));
    let again = one(&store, &bob, react(&room, id, "+1")).await;
    assert_eq!((again.seq, again.events.len()), (put.seq, 0), "putting what is there is no event");
    one(&store, &ann, react(&room, id, "❤️")).await;
    one(&store, &ann, react(&room, id, "+1")).await;
    let shown = |message: &hallway_protocol::Message| {
        message.reactions.iter().map(|one| (one.emoji.clone(), one.users.clone())).collect::<Vec<_>>()
    };
    let message = kit::created(&room_events(&store, &room).await).remove(0);
    let expected = vec![("+1".to_owned(), vec![bob.clone(), ann.clone()]), ("❤️".to_owned(), vec![ann.clone()])];
    assert_eq!(shown(&message), expected);
    assert_eq!(message.version, 1, "a reaction is no edit");
    one(&store, &bob, take("+1")).await;
    one(&store, &ann, take("+1")).await;
    let nothing = one(&store, &ann, take("+1")).await;
    let events = room_events(&store, &room).await;
    assert!(nothing.events.is_empty());
    assert_eq!(nothing.seq, events.last().unwrap().seq);
    assert_eq!(shown(&kit::created(&events)[0]), [("❤️".to_owned(), vec![ann])]);
}

pub async fn reactions_are_bounded(store: Shared) {
    let ann = kit::user("bounded", "ann");
    let room = kit::room("bounded", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let id: MessageId = one(&store, &ann, send(&room, "text")).await.id.unwrap().into();
    let batch = (0..REACTIONS_MAX_PER_MESSAGE).map(|number| write(&ann, react(&room, id, &format!("e{number}"))));
    assert!(commit(&store, batch.collect()).await.iter().all(Result::is_ok));
    assert_eq!(try_one(&store, &ann, react(&room, id, "more")).await, Err(Refusal::TooManyReactions));
    assert!(one(&store, &ann, react(&room, id, "e0")).await.events.is_empty());
}

pub async fn a_message_keeps_everything_it_was_sent_with(store: Shared) {
    let (ann, bob) = (kit::user("all", "ann"), kit::user("all", "bob"));
    let room = kit::room("all", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let first = one(&store, &ann, send(&room, "first")).await.id.map(MessageId::from);
    let text = "ä €\u{1F980} \"quotes\" \\ 'single' \n\t\u{7f} %_;--".to_owned();
    let sent = one(
        &store,
        &ann,
        Action::SendMessage {
            room: room.clone(),
            id: MessageId::generate(),
            text: text.clone(),
            reply_to: first,
            mentions: vec![bob.clone(), ann.clone()],
            meta: Meta::from_json(r#"{"a":[1,2.5,null],"b":{"c":"d"}}"#).ok(),
        },
    )
    .await;
    let events = room_events(&store, &room).await;
    assert_eq!(events[3], sent.events[0], "what is read later is what was handed out");
    let message = &kit::created(&events)[1];
    assert_eq!(message.text, text);
    assert_eq!((message.reply_to, message.mentions.clone()), (first, vec![bob, ann]));
    assert_eq!(message.meta.as_ref().map(Meta::as_json), Some(r#"{"a":[1,2.5,null],"b":{"c":"d"}}"#));
    assert_eq!((message.seq, message.at_ms, Some(message.id.into())), (sent.seq, sent.at_ms, sent.id));
}

fn texts(messages: &[hallway_protocol::Message]) -> Vec<u64> {
    messages.iter().map(|message| message.text.parse().unwrap()).collect()
}

pub async fn history_goes_both_ways_without_repeating(store: Shared) {
    let ann = kit::user("history", "ann");
    let room = kit::room("history", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let read = async |from, limit| {
        store.history(&ann, HistoryQuery { room: room.clone(), from, limit }).await.unwrap().unwrap()
    };
    let empty = read(HistoryFrom::Before(None), 10).await;
    assert!(empty.messages.is_empty() && !empty.older && !empty.newer);
    for number in 0..7 {
        let id: MessageId = one(&store, &ann, send(&room, &number.to_string())).await.id.unwrap().into();
        one(&store, &ann, react(&room, id, "+1")).await;
    }
    let newest = read(HistoryFrom::Before(None), 3).await;
    assert_eq!((texts(&newest.messages), newest.older, newest.newer), (vec![4, 5, 6], true, false));
    let middle = read(HistoryFrom::Before(Some(newest.messages[0].seq)), 3).await;
    assert_eq!((texts(&middle.messages), middle.older, middle.newer), (vec![1, 2, 3], true, true));
    let oldest = read(HistoryFrom::Before(Some(middle.messages[0].seq)), 3).await;
    assert_eq!((texts(&oldest.messages), oldest.older, oldest.newer), (vec![0], false, true));
    let first = read(HistoryFrom::After(None), 4).await;
    assert_eq!((texts(&first.messages), first.older, first.newer), (vec![0, 1, 2, 3], false, true));
    let rest = read(HistoryFrom::After(Some(first.messages[3].seq)), 4).await;
    assert_eq!((texts(&rest.messages), rest.older, rest.newer), (vec![4, 5, 6], true, false));
    let end = read(HistoryFrom::After(Some(rest.messages[2].seq)), 4).await;
    assert!(end.messages.is_empty() && !end.newer);
}

pub async fn history_since_join_never_shows_earlier_messages(store: Shared) {
    let (ann, bob) = (kit::user("since", "ann"), kit::user("since", "bob"));
    let room = kit::room("since", "room");
    channel(&store, &ann, &room, Visibility::Private, History::SinceJoin).await;
    let hidden = one(&store, &ann, send(&room, "0")).await;
    one(&store, &ann, kit::invite(&room, &bob, Role::Member)).await;
    one(&store, &ann, send(&room, "1")).await;
    for from in [
        HistoryFrom::Before(None),
        HistoryFrom::After(None),
        HistoryFrom::After(Some(1)),
        HistoryFrom::Before(Some(1000)),
        HistoryFrom::After(Some(hidden.seq)),
    ] {
        let page = store.history(&bob, HistoryQuery { room: room.clone(), from, limit: 10 }).await.unwrap().unwrap();
        assert_eq!((texts(&page.messages), page.older, page.newer), (vec![1], false, false), "{from:?}");
    }
    let from = HistoryFrom::Before(Some(hidden.seq + 1));
    let page = store.history(&bob, HistoryQuery { room: room.clone(), from, limit: 10 }).await.unwrap().unwrap();
    assert!(page.messages.is_empty() && !page.older);
    let unseen = try_one(&store, &bob, react(&room, hidden.id.unwrap().into(), "+1")).await;
    assert_eq!(unseen, Err(Refusal::MessageNotFound), "what one may not see does not exist");
}
