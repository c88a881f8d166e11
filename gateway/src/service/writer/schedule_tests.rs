use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Write {
    kind: Kind,
    rooms: Vec<u8>,
    actor: u8,
    number: usize,
}

impl Keyed for Write {
    type Room = u8;
    type Actor = u8;
    fn rooms(&self) -> &[u8] {
        &self.rooms
    }
    fn actor(&self) -> &u8 {
        &self.actor
    }
    fn weight(&self) -> usize {
        self.rooms.len()
    }
}

impl Scheduled for Write {
    fn kind(&self) -> Kind {
        self.kind
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(Kind, Vec<u8>, u8),
    /// Everything that may go goes; of each ten, these are kept back by somebody else.
    Go(Vec<u8>),
    /// One of the batches that are under way is over.
    Over(usize),
}

fn write() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![3 => Just(Kind::Send), 3 => Just(Kind::Act)];
    prop_oneof![
        6 => (kind, 0..8_u8, 0..8_u8).prop_map(|(kind, room, actor)| Step::Push(kind, vec![room], actor)),
        1 => (prop::collection::hash_set(0..8_u8, 1..4), 0..8_u8)
            .prop_map(|(rooms, actor)| Step::Push(Kind::Together, rooms.into_iter().collect(), actor)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => write(),
        2 => prop::collection::vec(0..10_u8, 0..2).prop_map(Step::Go),
        2 => (0..3_usize).prop_map(Step::Over),
    ];
    prop::collection::vec(step, 0..200)
}

/// A schedule, and what a store would see of it.
struct Scene {
    schedule: Schedule<Write>,
    side_by_side: bool,
    under_way: Vec<Batch<Write>>,
    /// In the order in which they were handed out or kept back.
    seen: Vec<Write>,
}

impl Scene {
    fn go(&mut self, kept: &[u8], most: usize) -> Result<(), TestCaseError> {
        loop {
            let mut seen = Vec::new();
            let next = self.schedule.next(most, |write| {
                seen.push(write.clone());
                (!kept.contains(&((write.number % 10) as u8))).then_some(write)
            });
            self.seen.extend(seen);
            let Some(batch) = next else { return Ok(()) };
            prop_assert!(!batch.writes.is_empty());
            let weight: usize = batch.writes.iter().map(Keyed::weight).sum();
            prop_assert!(weight <= most || batch.writes.len() == 1);
            for other in &self.under_way {
                for (one, two) in batch.writes.iter().flat_map(|one| other.writes.iter().map(move |two| (one, two))) {
                    prop_assert!(self.side_by_side, "one batch at a time");
                    prop_assert!(one.kind != two.kind, "one batch of a kind at a time");
                    prop_assert!(one.actor != two.actor, "{one:?} beside {two:?}");
                    prop_assert!(one.rooms.iter().all(|room| !two.rooms.contains(room)), "{one:?} beside {two:?}");
                }
            }
            if self.side_by_side {
                prop_assert!(batch.writes.iter().all(|write| write.kind == batch.writes[0].kind));
                prop_assert!(batch.writes[0].kind != Kind::Together || batch.writes.len() == 1);
            }
            self.under_way.push(batch);
        }
    }

    /// Nobody waits who need not.
    fn check(&self) -> Result<(), TestCaseError> {
        for (place, one) in self.schedule.waiting.iter().enumerate() {
            let ahead = self.schedule.waiting.iter().take(place).map(|ahead| &ahead.write);
            let taken = self.under_way.iter().flat_map(|batch| &batch.writes);
            let shares = |other: &Write| {
                other.actor == one.write.actor || other.rooms.iter().any(|room| one.write.rooms.contains(room))
            };
            let same_kind = |batch: &Batch<Write>| !self.side_by_side || batch.writes[0].kind == one.write.kind;
            let waits_for_its_kind = self.under_way.iter().any(same_kind);
            prop_assert!(waits_for_its_kind || ahead.chain(taken).any(shares), "{one:?} waits for nothing");
        }
        Ok(())
    }
}

proptest! {
    /// Whatever comes and ends when: no two batches share a room or a person, each person's and each room's writes go in
    /// their order, none waits for nothing, and all have gone in the end.
    #[test]
    fn nobody_is_in_two_batches_and_nobody_overtakes(side_by_side: bool, steps in steps()) {
        let schedule = Schedule::new(side_by_side);
        let mut scene = Scene { schedule, side_by_side, under_way: Vec::new(), seen: Vec::new() };
        let mut number = 0;
        for step in steps {
            match step {
                Step::Push(kind, rooms, actor) => {
                    number += 1;
                    scene.schedule.push(Write { kind, rooms, actor, number });
                }
                Step::Go(kept) => {
                    scene.go(&kept, 5)?;
                    scene.check()?;
                }
                Step::Over(which) if !scene.under_way.is_empty() => {
                    let batch = scene.under_way.remove(which % scene.under_way.len());
                    scene.schedule.over(&batch.split().1);
                }
                Step::Over(_) => {}
            }
        }
        loop {
            scene.go(&[], 5)?;
            scene.check()?;
            let Some(batch) = scene.under_way.pop() else { break };
            scene.schedule.over(&batch.split().1);
        }
        prop_assert!(scene.schedule.is_idle());
        prop_assert!(scene.schedule.held.is_empty() && scene.schedule.under_way.is_empty());
        prop_assert_eq!(scene.seen.len(), number);
        for key in 0..8 {
            let of = |belongs: &dyn Fn(&Write) -> bool| -> Vec<usize> {
                scene.seen.iter().filter(|write| belongs(write)).map(|write| write.number).collect()
            };
            prop_assert!(of(&|write| write.actor == key).is_sorted(), "{key} overtook themselves");
            prop_assert!(of(&|write| write.rooms.contains(&key)).is_sorted(), "writes of room {key} were turned");
        }
    }
}

#[test]
fn messages_do_not_wait_for_other_work_unless_it_is_of_their_room_or_by_their_author() {
    let mut schedule = Schedule::new(true);
    let write = |kind, room, actor, number| Write { kind, rooms: vec![room], actor, number };
    schedule.push(write(Kind::Act, 1, 1, 1));
    let numbers = |batch: Option<Batch<Write>>| -> Vec<usize> {
        batch.iter().flat_map(|batch| &batch.writes).map(|write| write.number).collect()
    };
    let act = schedule.next(10, Some);
    for (room, actor, number) in [(1, 2, 2), (2, 1, 3), (2, 4, 4), (3, 3, 5)] {
        schedule.push(write(Kind::Send, room, actor, number));
    }
    assert_eq!(numbers(schedule.next(10, Some)), [5], "4 comes behind 3 in its room");
    schedule.over(&act.unwrap_or_else(|| unreachable!("nothing was in its way")).split().1);
    assert_eq!(numbers(schedule.next(10, Some)), Vec::<usize>::new(), "one batch of sends at a time");
}

#[test]
fn what_was_refused_meanwhile_holds_nobody_up() {
    let mut schedule = Schedule::new(true);
    let write = |number| Write { kind: Kind::Send, rooms: vec![1], actor: 1, number };
    schedule.push(write(1));
    let batch = schedule.next(10, Some);
    schedule.push(write(2));
    assert_eq!(schedule.drain(), [write(2)]);
    schedule.over(&batch.unwrap_or_else(|| unreachable!("nothing was in its way")).split().1);
    schedule.push(write(3));
    assert_eq!(schedule.next(10, Some).map(|batch| batch.writes), Some(vec![write(3)]));
}

/// A room with more waiting than is looked at holds up whoever stands behind it until its next batch, and nobody for ever.
#[test]
fn what_stands_behind_more_than_is_looked_at_has_its_turn() {
    let mut schedule = Schedule::new(true);
    let most = 256;
    let sends = LOOKED_AT_MAX + most;
    for number in 0..sends {
        schedule.push(Write { kind: Kind::Send, rooms: vec![1], actor: 1, number });
    }
    schedule.push(Write { kind: Kind::Act, rooms: vec![2], actor: 2, number: sends });
    let mut handed_out = Vec::new();
    let mut batches = 0;
    while let Some(batch) = schedule.next(most, Some) {
        // Several may be under way; here they end in the order in which they began.
        let mut under_way = vec![batch];
        under_way.extend(schedule.next(most, Some));
        for batch in under_way {
            let (writes, ticket) = batch.split();
            handed_out.extend(writes.iter().map(|write| write.number));
            schedule.over(&ticket);
            batches += 1;
        }
    }
    assert!(schedule.is_idle());
    assert_eq!(schedule.looks_cut_short(), 1, "the first look for other work did not come to the end");
    assert_eq!(schedule.looks_cut_short(), 0, "each is told once");
    let behind = handed_out.iter().position(|number| *number == sends);
    assert_eq!(behind, Some(2 * most), "it went when the first batch was over");
    handed_out.retain(|number| *number < sends);
    assert!(handed_out.is_sorted() && handed_out.len() == sends);
    assert_eq!(batches, sends / most + 1);
}
