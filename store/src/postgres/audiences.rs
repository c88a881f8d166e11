//! Whom rooms concern, for the node that decides where to send what; and who knows whom by them.

use hallway_protocol::{Epoch, RoomId, UserId};

use super::connection::{Connections, Kind};
use super::rows::{corrupt, unsigned};
use super::statements;
use crate::{Audience, AudienceBatch, StoreError};

pub(super) async fn audiences(
    connections: &Connections,
    rooms: Vec<RoomId>,
    members_max: u32,
) -> Result<AudienceBatch, StoreError> {
    if rooms.is_empty() {
        return Ok(AudienceBatch { epoch: super::upkeep::epoch(connections, false).await?, audiences: Vec::new() });
    }
    let names: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
    let most = i64::from(members_max) + 1;
    let rows = connections.run(Kind::Read, statements::AUDIENCES, &[&names, &most]).await?;
    let first = rows.first().ok_or_else(|| corrupt("the store has no epoch"))?;
    let epoch = Epoch::new(first.get(0))?;
    let mut audiences = Vec::with_capacity(rooms.len());
    for (row, room) in rows.iter().zip(rooms) {
        let names: Vec<&str> = row.get::<_, Option<Vec<&str>>>(2).unwrap_or_default();
        let members = u32::try_from(names.len()).unwrap_or(u32::MAX);
        let few = if members > members_max { &[] } else { &names[..] };
        let people = few.iter().map(|name| UserId::new(name)).collect::<Result<_, _>>()?;
        audiences.push(Audience { room, last_seq: unsigned(row.get(1)), members, people });
    }
    Ok(AudienceBatch { epoch, audiences })
}

pub(super) async fn acquaintances(
    connections: &Connections,
    user: &UserId,
    others: Vec<UserId>,
) -> Result<Vec<UserId>, StoreError> {
    if others.is_empty() {
        return Ok(others);
    }
    let names: Vec<&str> = others.iter().map(UserId::as_str).collect();
    let rows = connections.run(Kind::Read, statements::ACQUAINTANCES, &[&user.as_str(), &names]).await?;
    rows.iter().map(|row| UserId::new(row.get(0)).map_err(StoreError::from)).collect()
}
