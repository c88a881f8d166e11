//! Whom rooms concern, and who knows whom by them.

use hallway_protocol::{History, Role, UserId, Visibility};

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

pub async fn who_shares_a_room_is_an_acquaintance_and_nobody_else(store: Shared) {
    let [ann, bob, cas, dan] = ["ann", "bob", "cas", "dan"].map(|name| kit::user("acquaintance", name));
    let absent = kit::user("acquaintance", "absent");
    let [first, second, other] = ["first", "second", "other"].map(|name| kit::room("acquaintance", name));
    for (room, visibility) in [(&first, Visibility::Private), (&second, Visibility::Public)] {
        channel(&store, &ann, room, visibility, History::All).await;
    }
    channel(&store, &dan, &other, Visibility::Public, History::All).await;
    one(&store, &ann, kit::invite(&first, &bob, Role::Guest)).await;
    one(&store, &bob, Action::Join { room: second.clone() }).await;
    one(&store, &cas, Action::Join { room: second.clone() }).await;
    let all = vec![dan.clone(), cas.clone(), absent.clone(), bob.clone(), ann.clone()];
    let known = async |user: &UserId, others: &[UserId]| store.acquaintances(user, others.to_vec()).await.unwrap();
    let alone = |user: &UserId| vec![user.clone()];
    assert_eq!(known(&ann, &all).await, [cas.clone(), bob.clone(), ann.clone()], "in the order asked for");
    assert_eq!(known(&dan, &all).await, alone(&dan), "a public room makes nobody known who is not in it");
    assert_eq!(known(&absent, &all).await, alone(&absent));
    assert!(known(&ann, &[]).await.is_empty());
    // It ends with the last room that is shared.
    one(&store, &bob, Action::Leave { room: second.clone() }).await;
    assert_eq!(known(&cas, &all).await, [cas.clone(), ann.clone()]);
    assert_eq!(known(&bob, &all).await, [bob.clone(), ann.clone()]);
    one(&store, &bob, Action::Leave { room: first.clone() }).await;
    assert_eq!(known(&bob, &all).await, alone(&bob));
}
