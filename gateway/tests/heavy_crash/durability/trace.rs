//! Reads what strace wrote, and judges the order of syncs and acknowledgements.
//!
//! With -f a call may be told in two lines (`<unfinished ...>`, `<... resumed>`). Each rule takes the stricter one: a
//! write to a socket counts from its first line, a sync from its last one.

use std::collections::HashMap;

/// What the trace proves.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Messages whose text went to the log, was synced there, and only then to a socket.
    pub(crate) proven: usize,
    pub(crate) faults: Vec<String>,
}

/// One call, as much as is told in its line.
struct Call<'a> {
    thread: &'a str,
    name: &'a str,
    rest: &'a str,
    resumed: bool,
}

fn parse(line: &str) -> Option<Call<'_>> {
    let (thread, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    if let Some(rest) = rest.strip_prefix("<... ") {
        let (name, rest) = rest.split_once(" resumed>")?;
        return Some(Call { thread, name, rest, resumed: true });
    }
    let (name, rest) = rest.split_once('(')?;
    Some(Call { thread, name, rest, resumed: false })
}

fn is_wal(rest: &str) -> bool {
    rest.split_once('>').is_some_and(|(file, _)| file.ends_with("-wal"))
}

fn is_socket(rest: &str) -> bool {
    rest.split_once('>').is_some_and(|(file, _)| file.contains("<TCP") || file.contains("<socket:"))
}

/// Line numbers: when the WAL was synced, when each text first went to it, and when each first went to a socket. An
/// acknowledgement bears no text, so the n-th one is taken to be the n-th text's: they were sent one by one.
#[derive(Default)]
struct Moments {
    synced: Vec<(usize, usize)>,
    logged: HashMap<String, usize>,
    pushed: HashMap<String, usize>,
    acknowledged: Vec<usize>,
}

fn moments(trace: &str, texts: &[String]) -> Moments {
    let mut moments = Moments::default();
    let mut syncs_under_way: HashMap<&str, usize> = HashMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some(call) = parse(line) else { continue };
        match call.name {
            "fsync" | "fdatasync" if call.resumed => {
                if let Some(begun) = syncs_under_way.remove(call.thread)
                    && call.rest.trim_end().ends_with("= 0")
                {
                    moments.synced.push((begun, number));
                }
            }
            "fsync" | "fdatasync" if is_wal(call.rest) => {
                if call.rest.trim_end().ends_with("<unfinished ...>") {
                    syncs_under_way.insert(call.thread, number);
                } else if call.rest.trim_end().ends_with("= 0") {
                    moments.synced.push((number, number));
                }
            }
            _ if call.resumed => {}
            "pwrite64" | "write" if is_wal(call.rest) => note(&mut moments.logged, call.rest, number, texts),
            "write" | "writev" | "sendto" | "sendmsg" if is_socket(call.rest) => {
                note(&mut moments.pushed, call.rest, number, texts);
                let acknowledgements = call.rest.matches(r#"{\"ok\":"#).count();
                let of_messages = call.rest.matches(r#"\"reply\":{\"message.send\""#).count();
                moments.acknowledged.extend(std::iter::repeat_n(number, acknowledgements.min(of_messages)));
            }
            _ => {}
        }
    }
    moments
}

fn note(first: &mut HashMap<String, usize>, rest: &str, number: usize, texts: &[String]) {
    for text in texts.iter().filter(|text| rest.contains(text.as_str())) {
        first.entry(text.clone()).or_insert(number);
    }
}

/// Judges each text.
pub(crate) fn check(trace: &str, texts: &[String]) -> Report {
    let moments = moments(trace, texts);
    let mut report = Report::default();
    for (index, text) in texts.iter().enumerate() {
        match judge(&moments, index, text) {
            Ok(()) => report.proven += 1,
            Err(fault) => report.faults.push(format!("{text}: {fault}")),
        }
    }
    report
}

fn judge(moments: &Moments, index: usize, text: &str) -> Result<(), String> {
    let logged = *moments.logged.get(text).ok_or("it was never written to the log")?;
    let acknowledged = *moments.acknowledged.get(index).ok_or("its acknowledgement is not in the trace")?;
    let told = moments.pushed.get(text).map_or(acknowledged, |pushed| acknowledged.min(*pushed));
    // A sync that began before the text was written proves nothing about it.
    let synced = moments.synced.iter().find(|(begun, _)| *begun > logged);
    match synced {
        Some((_, ended)) if *ended < told => Ok(()),
        Some((_, ended)) => Err(format!("it was told in line {told}, and synced in line {ended}")),
        None => Err(format!("it was told in line {told}, and never synced")),
    }
}

#[test]
fn heavy_the_judge_knows_a_sync_that_came_too_late_or_failed() {
    let texts = ["needle".to_owned()];
    let written = r#"7 pwrite64(9</data/hallway.db-wal>, "xx needle", 9, 32) = 9"#;
    let told =
        r#"8 sendto(12<socket:[1]>, "{\"ok\":{\"id\":1,\"reply\":{\"message.send\":{}}}}", 40, 0, NULL, 0) = 40"#;
    let synced = "7 fdatasync(9</data/hallway.db-wal>) = 0";
    let begun = "7 fdatasync(9</data/hallway.db-wal> <unfinished ...>";
    let ended = "7 <... fdatasync resumed>) = 0";
    let proves = |lines: &[&str]| check(&lines.join("\n"), &texts).proven == 1;
    assert!(proves(&[written, synced, told]));
    assert!(proves(&[written, begun, ended, told]));
    assert!(!proves(&[synced, written, told]), "synced before it was written");
    assert!(!proves(&[written, told, synced]), "told before the sync");
    assert!(!proves(&[written, begun, told, ended]), "told before the sync had ended");
    assert!(!proves(&[written, "7 fdatasync(9</data/hallway.db-wal>) = -1 EIO (Input/output error)", told]));
    assert!(!proves(&[written, "7 fdatasync(9</data/other>) = 0", told]), "another file was synced");
}
