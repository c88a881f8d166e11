//! Whom rooms concern.

use hallway_protocol::{History, Role, Visibility};

use super::kit::{self, Shared, channel, one};
use crate::Action;

pub async fn a_rooms_audience_is_its_members_while_they_are_few(store: Shared) {
    let ann = kit::user("audience", "ann");
    let [small, large, gone, absent] = ["small", "large", "gone", "absent"].map(|name| kit::room("audience", name));
    for room in [&small, &large, &gone] {
        channel(&store, &ann, room, Visibility::Public, History::All).await;
    }
    let people: Vec<_> = ["zoe", "B", "bob"].map(|name| kit::user("audience", name)).into();
    for user in &people {
        one(&store, &ann, kit::invite(&large, user, Role::Guest)).await;
    }
    for user in &people[..2] {
        one(&store, user, Action::Join { room: small.clone() }).await;
    }
    one(&store, &people[1], Action::Leave { room: small.clone() }).await;
    one(&store, &ann, Action::Leave { room: gone.clone() }).await;

    let asked = [large.clone(), absent, small.clone(), gone];
    let batch = store.audiences(asked.to_vec(), 3).await.unwrap();
    assert_eq!(batch.epoch, store.epoch().await.unwrap());
    let rooms: Vec<_> = batch.audiences.iter().map(|audience| audience.room.clone()).collect();
    assert_eq!(rooms, asked, "in the order asked for");
    let seen: Vec<_> =
        batch.audiences.iter().map(|audience| (audience.last_seq, audience.members, audience.people.clone())).collect();
    let few = vec![ann.clone(), people[0].clone()];
    assert_eq!(seen, [(5, 4, vec![]), (0, 0, vec![]), (5, 2, few), (3, 0, vec![])], "four are more than three");

    let all = store.audiences(vec![large], 4).await.unwrap().audiences.remove(0);
    let mut expected: Vec<_> = people.into_iter().chain([ann]).collect();
    expected.sort();
    assert_eq!((all.members, all.people), (4, expected));
    assert!(store.audiences(Vec::new(), 3).await.unwrap().audiences.is_empty());
}
