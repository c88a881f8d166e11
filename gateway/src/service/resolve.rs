//! What people say, turned into ids: each phrase into a question to the store (pure), all of them asked at once, and its
//! candidates into an answer (pure).

use hallway_protocol::command::{Candidate, Phrase, Resolution, Resolve, Resolved, What};
use hallway_protocol::{ErrorBody, Reply, RoomId, TaskId, UserId};
use hallway_store::ResolveQuery;

use super::Service;
use super::reads::failed;

impl Service {
    pub(super) async fn answer_resolve(&self, user: &UserId, resolve: Resolve) -> Result<Reply, ErrorBody> {
        let queries = queries(&resolve);
        let found = self.inner.store.resolve(user, queries.clone()).await.map_err(failed)?;
        let resolutions = queries.iter().zip(found).map(|(query, candidates)| resolution(query, candidates));
        Ok(Reply::Resolve(Resolved { resolutions: resolutions.collect() }))
    }
}

/// What to ask for each phrase.
fn queries(resolve: &Resolve) -> Vec<ResolveQuery> {
    resolve.phrases.iter().map(|phrase| query(phrase, resolve.room.as_ref(), resolve.task)).collect()
}

/// A phrase that needs a room or a task to speak of, where there is none, is a name like any other. So is one that is wanted to
/// be the name of something else.
fn query(phrase: &Phrase, room: Option<&RoomId>, task: Option<TaskId>) -> ResolveQuery {
    let text = phrase.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let may_be = |what: What| phrase.what.is_none_or(|wanted| wanted == what);
    match (text.to_lowercase().as_str(), room, task) {
        ("me", _, _) if may_be(What::Person) => ResolveQuery::Me,
        ("here", Some(room), _) if may_be(What::Room) => ResolveQuery::Room(room.clone()),
        ("last message", Some(room), _) if may_be(What::Message) => ResolveQuery::LastMessage(room.clone()),
        ("this task", _, Some(task)) if may_be(What::Task) => ResolveQuery::Task { room: room.cloned(), task },
        ("everyone on the task", _, Some(task)) if may_be(What::Person) => {
            ResolveQuery::AssigneesOf { room: room.cloned(), task }
        }
        _ => ResolveQuery::Named { text, what: phrase.what, room: room.cloned() },
    }
}

/// What the store found, as an answer: the only candidate, or the only one that is called exactly so, is meant.
fn resolution(query: &ResolveQuery, mut candidates: Vec<Candidate>) -> Resolution {
    if candidates.is_empty() {
        return Resolution::Nothing;
    }
    match query {
        ResolveQuery::AssigneesOf { .. } => Resolution::All(candidates),
        ResolveQuery::Named { text, .. } if candidates.len() > 1 => {
            let mut exact = (0..candidates.len()).filter(|at| is_called(&candidates[*at], text));
            match (exact.next(), exact.next()) {
                (Some(only), None) => Resolution::One(candidates.swap_remove(only)),
                _ => Resolution::Candidates(candidates),
            }
        }
        _ => Resolution::One(candidates.swap_remove(0)),
    }
}

/// Whether its id, name or title is this text; case does not matter.
fn is_called(candidate: &Candidate, text: &str) -> bool {
    let text = text.to_lowercase();
    let is = |name: &str| name.to_lowercase() == text;
    match candidate {
        Candidate::Person { user, name } => is(user.as_str()) || name.as_deref().is_some_and(is),
        Candidate::Room { room, name } => is(room.as_str()) || name.as_deref().is_some_and(is),
        Candidate::Task { task, title, .. } => is(title) || is(&task.to_string()),
        Candidate::Message { message, .. } => is(&message.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use hallway_protocol::MessageId;

    use super::*;

    fn phrase(text: &str, what: Option<What>) -> Phrase {
        Phrase { text: text.to_owned(), what }
    }

    fn person(user: &str, name: &str) -> Candidate {
        Candidate::Person { user: UserId::new(user).unwrap(), name: Some(name.to_owned()) }
    }

    fn named(text: &str) -> ResolveQuery {
        ResolveQuery::Named { text: text.to_owned(), what: None, room: None }
    }

    #[test]
    fn the_words_of_the_context_are_understood_in_any_case_and_spacing() {
        let (room, task) = (RoomId::new("lobby").unwrap(), TaskId::generate());
        let ask = |text: &str| query(&phrase(text, None), Some(&room), Some(task));
        assert_eq!(ask(" ME "), ResolveQuery::Me);
        assert_eq!(ask("Here"), ResolveQuery::Room(room.clone()));
        assert_eq!(ask("last  Message"), ResolveQuery::LastMessage(room.clone()));
        assert_eq!(ask("this task"), ResolveQuery::Task { room: Some(room.clone()), task });
        assert_eq!(ask("everyone on the task"), ResolveQuery::AssigneesOf { room: Some(room.clone()), task });
    }

    #[test]
    fn without_a_context_or_as_something_else_they_are_names() {
        let room = RoomId::new("lobby").unwrap();
        assert_eq!(query(&phrase("here", None), None, None), named("here"));
        assert_eq!(query(&phrase("This  task", None), None, None), named("This task"));
        let me = query(&phrase("me", Some(What::Room)), Some(&room), None);
        assert_eq!(me, ResolveQuery::Named { text: "me".to_owned(), what: Some(What::Room), room: Some(room) });
    }

    #[test]
    fn one_is_meant_when_it_is_the_only_one_or_the_only_one_called_so() {
        let (anna, anna_lena) = (person("u1", "Anna"), person("u2", "Anna Lena"));
        let both = || vec![anna.clone(), anna_lena.clone()];
        assert_eq!(resolution(&named("anna"), both()), Resolution::One(anna.clone()));
        assert_eq!(resolution(&named("U2"), both()), Resolution::One(anna_lena.clone()), "an id is a name, too");
        assert_eq!(resolution(&named("an"), both()), Resolution::Candidates(both()), "two begin so");
        assert_eq!(resolution(&named("an"), vec![anna_lena.clone()]), Resolution::One(anna_lena));
        let twice = vec![anna.clone(), person("u3", "ANNA")];
        assert_eq!(resolution(&named("anna"), twice.clone()), Resolution::Candidates(twice), "two are called so");
        assert_eq!(resolution(&named("bert"), Vec::new()), Resolution::Nothing);
    }

    #[test]
    fn everyone_is_all_of_them_and_the_last_message_is_one() {
        let (room, task) = (RoomId::new("lobby").unwrap(), TaskId::generate());
        let everyone = ResolveQuery::AssigneesOf { room: None, task };
        let one = vec![person("u1", "Anna")];
        assert_eq!(resolution(&everyone, one.clone()), Resolution::All(one));
        assert_eq!(resolution(&everyone, Vec::new()), Resolution::Nothing);
        let message = Candidate::Message { room: room.clone(), message: MessageId::generate() };
        assert_eq!(resolution(&ResolveQuery::LastMessage(room), vec![message.clone()]), Resolution::One(message));
    }
}
