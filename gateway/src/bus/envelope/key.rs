//! Pure. The key that all nodes of a cluster share. It has no serialisation, and its `Debug` shows nothing.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::TAG_BYTES;
use crate::bus::Channel;

/// Shortest secret, in bytes.
pub const SECRET_MIN_BYTES: usize = 32;

/// Says what the key is for, so that the same secret may serve something else too.
const PURPOSE: &[u8] = b"hallway: envelopes between nodes, major 1";

/// The secret is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster's secret has {length} bytes, at least {SECRET_MIN_BYTES} are needed; `openssl rand -hex 32` makes one"
)]
pub struct SecretTooShort {
    /// How many bytes it has.
    pub length: usize,
}

/// Seals and proves envelopes. Made from the secret, which it does not keep.
#[derive(Clone)]
pub struct ClusterKey(Hmac<Sha256>);

impl ClusterKey {
    /// The key of a secret.
    ///
    /// # Errors
    /// When the secret is shorter than [`SECRET_MIN_BYTES`].
    pub fn from_secret(secret: &[u8]) -> Result<Self, SecretTooShort> {
        let refused = SecretTooShort { length: secret.len() };
        if secret.len() < SECRET_MIN_BYTES {
            return Err(refused);
        }
        // HMAC takes keys of any length, so neither of these can fail.
        let mut derive = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| refused)?;
        derive.update(PURPOSE);
        let mut derived = derive.finalize().into_bytes();
        let key = Hmac::new_from_slice(&derived).map_err(|_| refused);
        derived.fill(0);
        std::hint::black_box(&derived);
        key.map(Self)
    }

    /// The tag of these bytes in this channel.
    pub(super) fn tag(&self, channel: &Channel, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let whole = self.mac(channel, bytes).finalize().into_bytes();
        std::array::from_fn(|index| whole[index])
    }

    /// Whether this is their tag; takes the same time for every wrong one.
    pub(super) fn proves(&self, channel: &Channel, bytes: &[u8], tag: &[u8]) -> bool {
        tag.len() == TAG_BYTES && self.mac(channel, bytes).verify_truncated_left(tag).is_ok()
    }

    fn mac(&self, channel: &Channel, bytes: &[u8]) -> Hmac<Sha256> {
        let name = channel.to_string();
        let mut mac = self.0.clone();
        // The longest name has 69 bytes. With its length before it, no byte can change sides.
        mac.update(&[u8::try_from(name.len()).unwrap_or(u8::MAX)]);
        mac.update(name.as_bytes());
        mac.update(bytes);
        mac
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ClusterKey(…)")
    }
}
