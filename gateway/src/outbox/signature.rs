//! Pure: what proves to a target that a webhook is ours, and when it was sent.
//!
//! `hallway-signature: v1=HEX`, where HEX is HMAC-SHA256 under the target's secret over the text of `hallway-timestamp`, a
//! full stop and the body, byte for byte. Each attempt is signed anew, so a receiver can refuse what is older than a few
//! minutes. Another version of the signature would stand beside this one, after a comma.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::config::Secret;

/// Seconds since 1970, by the sending node's clock.
pub const TIMESTAMP_HEADER: &str = "hallway-timestamp";
/// The signature.
pub const SIGNATURE_HEADER: &str = "hallway-signature";
/// The number of the job: the same for each of its attempts. Not signed; the body's `id` is.
pub const JOB_HEADER: &str = "hallway-job";
/// Which attempt this is, from 1.
pub const ATTEMPT_HEADER: &str = "hallway-attempt";

/// The value of [`SIGNATURE_HEADER`].
pub(super) fn sign(secret: &Secret, timestamp_s: u64, body: &[u8]) -> String {
    let mut text = "v1=".to_owned();
    // HMAC takes a key of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose()) {
        mac.update(timestamp_s.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reckoned with Python: `hmac.new(secret, b"1700000000." + body, hashlib.sha256).hexdigest()`.
    #[test]
    fn the_signature_is_what_another_implementation_reckons() {
        for (secret, timestamp_s, body, expected) in [
            (
                "whsec-0123456789abcdef0123456789abcdef",
                1_700_000_000,
                "{\"version\":1}",
                "v1=0bda8dfe651cf358f4f944d942b80448d40768e602f776e38e0e26d42fae9ee1",
            ),
            (
                "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
                0,
                "",
                "v1=67d00a1429874f76679ba3ea3f0679df1b5fcf956587601e3270c0dd4d884e60",
            ),
        ] {
            assert_eq!(sign(&Secret::new(secret), timestamp_s, body.as_bytes()), expected);
        }
    }

    #[test]
    fn another_secret_time_or_body_is_another_signature() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef");
        let signature = sign(&secret, 12, b"body");
        assert_eq!(signature.len(), "v1=".len() + 64);
        for other in [
            sign(&Secret::new("0123456789abcdef0123456789abcdeF"), 12, b"body"),
            sign(&secret, 13, b"body"),
            sign(&secret, 12, b"Body"),
            // The full stop parts them: the time cannot run into the body.
            sign(&secret, 1, b"2.body"),
        ] {
            assert_ne!(other, signature);
        }
    }
}
