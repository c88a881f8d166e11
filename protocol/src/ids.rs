//! Names of rooms, users, messages, nonces and epochs. Parsing is the only way in, so a held id is a valid id.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// Longest room or user id, in bytes.
pub const ID_MAX_BYTES: usize = 64;
/// Longest nonce, in bytes.
pub const NONCE_MAX_BYTES: usize = 64;
/// Longest epoch, in bytes.
pub const EPOCH_MAX_BYTES: usize = 64;
/// Longest session id, in bytes.
pub const SESSION_MAX_BYTES: usize = 64;
/// Room ids that begin so belong to direct rooms; their ids are derived by the server.
pub const DIRECT_PREFIX: &str = "dm:";

/// Why a string is no id: what it was meant to be, the value (cut), and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a {what}: {rule}")]
pub struct InvalidId {
    what: &'static str,
    value: String,
    rule: &'static str,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        let mut shown: String = value.chars().take(40).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self { what, value: shown, rule }
    }
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}

const fn is_visible_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

/// Which bytes an id may hold. Ids are read with every event, and looking bytes up costs less than comparing them.
type Allowed = [bool; 256];

macro_rules! allowed {
    ($is_allowed:ident) => {{
        let mut table = [false; 256];
        let mut byte: u8 = 0;
        loop {
            table[byte as usize] = $is_allowed(byte);
            if byte == u8::MAX {
                break table;
            }
            byte += 1;
        }
    }};
}

static NAME_BYTES: Allowed = allowed!(is_name_byte);
static VISIBLE_BYTES: Allowed = allowed!(is_visible_byte);

fn holds_only(text: &str, allowed: &Allowed) -> bool {
    // Without a way out, so that nothing waits for a branch: ids are short, and hardly any is refused.
    text.bytes().fold(true, |all, byte| all & allowed[usize::from(byte)])
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $allowed:ident, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses an id.
            ///
            /// # Errors
            /// [`InvalidId`] when the text is empty, too long or holds a byte that is not allowed.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                if text.is_empty() || text.len() > $max || !holds_only(text, &$allowed) {
                    return Err(InvalidId::new($what, text, $rule));
                }
                Ok(Self(Arc::from(text)))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(out, "a {}: {}", $what, $rule)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

string_id!(
    /// A room, named by the application (or derived, for a direct room).
    RoomId, "room id", ID_MAX_BYTES, NAME_BYTES, "1 to 64 of the characters A-Z a-z 0-9 _ . : -"
);
string_id!(
    /// A user, named by the application in the token's `sub`.
    UserId, "user id", ID_MAX_BYTES, NAME_BYTES, "1 to 64 of the characters A-Z a-z 0-9 _ . : -"
);
string_id!(
    /// Names one intent of one sender, so that repeating it is safe.
    Nonce, "nonce", NONCE_MAX_BYTES, VISIBLE_BYTES, "1 to 64 visible ASCII characters"
);
string_id!(
    /// One life of the store. Positions of different epochs cannot be compared.
    Epoch, "epoch", EPOCH_MAX_BYTES, VISIBLE_BYTES, "1 to 64 visible ASCII characters"
);

string_id!(
    /// A connection, from its hello to its end, named by its node.
    SessionId, "session id", SESSION_MAX_BYTES, VISIBLE_BYTES, "1 to 64 visible ASCII characters"
);

impl RoomId {
    /// Whether this id has the form that is reserved for direct rooms.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.0.starts_with(DIRECT_PREFIX)
    }
}

/// Defines an id that is a UUID of version 7. Its time is only a hint; order is the stream's sequence number.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// Takes a UUID of version 7.
            ///
            /// # Errors
            /// [`InvalidId`] for any other version.
            pub fn from_uuid(uuid: Uuid) -> Result<Self, InvalidId> {
                if uuid.get_version_num() == 7 {
                    Ok(Self(uuid))
                } else {
                    Err(InvalidId::new($what, &uuid.to_string(), "a UUID of version 7"))
                }
            }

            /// The UUID.
            #[must_use]
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let uuid = Uuid::try_parse(text).map_err(|_| InvalidId::new($what, text, "a UUID of version 7"))?;
                Self::from_uuid(uuid)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::from_uuid(Uuid::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

uuid_id!(
    /// A message, named by the client or, if it chose no name, by the server.
    MessageId, "message id"
);
uuid_id!(
    /// A task, named by the client or, if it chose no name, by the server.
    TaskId, "task id"
);
uuid_id!(
    /// A comment on a task, named by the client or, if it chose no name, by the server.
    CommentId, "comment id"
);
uuid_id!(
    /// A notification of one person, named by the store.
    NotificationId, "notification id"
);
uuid_id!(
    /// Whatever an acknowledged command was about: a message, a task, a comment.
    ObjectId, "id"
);

macro_rules! objects {
    ($($name:ident),*) => { $(
        impl From<$name> for ObjectId {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }

        impl From<ObjectId> for $name {
            fn from(id: ObjectId) -> Self {
                Self(id.0)
            }
        }

        impl PartialEq<$name> for ObjectId {
            fn eq(&self, other: &$name) -> bool {
                self.0 == other.0
            }
        }
    )* };
}

objects!(MessageId, TaskId, CommentId, NotificationId);
