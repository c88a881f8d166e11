//! Ids of direct rooms.

use hallway_protocol::ids::DIRECT_PREFIX;
use hallway_protocol::{ErrorBody, ErrorCode, RoomId, UserId};
use sha2::{Digest, Sha256};

/// Bytes of the hash in the id: 160 bits, so that nobody finds two pairs with one room.
const HASH_BYTES: usize = 20;

/// The direct room of two people, whoever asks: a hash of the sorted pair.
///
/// # Errors
/// `invalid_argument` when both are the same person.
pub(super) fn direct_room(one: &UserId, other: &UserId) -> Result<RoomId, ErrorBody> {
    if one == other {
        return Err(ErrorBody::new(ErrorCode::InvalidArgument, "user: a direct room is with someone else"));
    }
    let (first, second) = if one < other { (one, other) } else { (other, one) };
    // Ids never hold a NUL, so the pair cannot be cut in another place.
    let hash = Sha256::digest(format!("{first}\0{second}").as_bytes());
    let hex: String = hash[..HASH_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    RoomId::new(&format!("{DIRECT_PREFIX}{hex}"))
        .map_err(|error| ErrorBody::new(ErrorCode::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[test]
    fn both_find_the_same_room_and_no_one_else_does() {
        let user = |name: &str| UserId::new(name).unwrap();
        let room = direct_room(&user("anna"), &user("ben")).unwrap();
        assert_eq!(room, direct_room(&user("ben"), &user("anna")).unwrap());
        assert_ne!(room, direct_room(&user("ann"), &user("aben")).unwrap());
        assert!(room.is_direct());
        assert_eq!(direct_room(&user("anna"), &user("anna")).unwrap_err().code, ErrorCode::InvalidArgument);
    }
}
