//! `hallway tail` and `hallway send`: a conversation from two terminals.

use std::io::Write as _;

use hallway_protocol::{Event, EventBody, RoomId, StreamId};
use loadtest_client::{Client, ClientSettings, ConnectOptions, Events, Notice, State, Step};

use super::arguments::{SendArguments, TailArguments, TalkArguments};
use super::{CliError, block_on, token};
use crate::auth;

/// A token of the command line lives as long as a terminal may stay open.
const TOKEN_LIFE: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
/// Notices that wait to be printed; then nothing more is read.
const QUEUE_MAX_NOTICES: usize = 1024;
/// How much of what was said before `tail` shows.
const TAIL_EVENTS: u32 = 100;

pub(super) fn tail(arguments: &TailArguments) -> Result<(), CliError> {
    block_on(async {
        let (client, mut events) = connect(&arguments.talk, TAIL_EVENTS).await?;
        join(&client, &arguments.room).await?;
        eprintln!("in room {}; press ctrl-c to leave", arguments.room);
        tokio::select! {
            ended = print_events(&client, &mut events, &arguments.room) => ended?,
            _ = tokio::signal::ctrl_c() => {}
        }
        client.close().await;
        Ok(())
    })
}

pub(super) fn send(arguments: &SendArguments) -> Result<(), CliError> {
    block_on(async {
        let (client, events) = connect(&arguments.talk, 1).await?;
        drop(events);
        join(&client, &arguments.room).await?;
        let sent = client.send_message(&arguments.room, arguments.text.clone()).await;
        client.close().await;
        let committed = sent.map_err(|error| failed("the message was not acknowledged", &error))?;
        println!("acknowledged: {} #{}", arguments.room, committed.seq);
        Ok(())
    })
}

pub(super) async fn connect(
    arguments: &TalkArguments,
    missed_events_wanted: u32,
) -> Result<(Client, Events), CliError> {
    let secret = token::secret(&arguments.secret)?;
    let token = auth::mint(&secret, &arguments.user, TOKEN_LIFE)?;
    let mut connect = ConnectOptions::new(arguments.target.clone(), token);
    connect.client_name = "hallway-cli".to_owned();
    connect.limit = Some(missed_events_wanted);
    Client::connect_with_events(ClientSettings::new(connect), QUEUE_MAX_NOTICES)
        .await
        .map_err(|error| failed(&format!("no connection to {} (is the node running?)", arguments.target), &error))
}

/// Joins the room; makes it, open to all, when there is none.
async fn join(client: &Client, room: &RoomId) -> Result<(), CliError> {
    let joined = client.join_or_create(room).await;
    joined.map(|_| ()).map_err(|error| failed(&format!("cannot join room {room}"), &error))
}

/// Prints until the client ends, which is an error then.
async fn print_events(client: &Client, events: &mut Events, room: &RoomId) -> Result<(), CliError> {
    let stream = StreamId::Room(room.clone());
    while let Some(notice) = events.next().await {
        match notice {
            Notice::Event { event, step } if event.stream == stream => {
                if let Step::Gap { after } = step {
                    eprintln!("events after #{after} are missing: a fault of the node");
                }
                print(&event);
            }
            Notice::Reset { reset, before: Some(_) } if reset.stream == stream => {
                eprintln!("the node cannot continue where we were; this is the present state");
            }
            Notice::Disconnected { reason } => eprintln!("connection lost ({reason})"),
            Notice::Connected { .. } => eprintln!("connected"),
            _ => {}
        }
    }
    match client.state() {
        State::Closed(reason) => Err(CliError::Failed(format!("the connection ended: {reason}"))),
        _ => Ok(()),
    }
}

/// One line. What others wrote is shown without control characters, which a terminal would obey.
fn print(event: &Event) {
    let line = match &event.body {
        EventBody::MessageCreated(created) => match &created.message {
            message if message.deleted => format!("#{} {}: (deleted)", event.seq, message.sender),
            message => format!("#{} {}: {}", event.seq, message.sender, message.text),
        },
        other => format!("#{} ({})", event.seq, other.name()),
    };
    show(&line);
}

/// Prints a line that others had a part in.
pub(super) fn show(line: &str) {
    let shown: String = line.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    // A reader that went away (`tail | head`) ends us at the next signal; there is nobody to tell.
    let _ = writeln!(std::io::stdout(), "{shown}");
}

/// What failed, with every cause.
pub(super) fn failed(what: &str, error: &dyn std::error::Error) -> CliError {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    CliError::Failed(text)
}
