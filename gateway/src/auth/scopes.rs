//! What a token allows.

use std::fmt;

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// `rooms:create`: make channels.
    pub const ROOMS_CREATE: Self = Self(1);
    /// `read`: receive, list, read history, mark as read.
    pub const READ: Self = Self(1 << 1);
    /// `write`: everything that changes something, but making channels.
    pub const WRITE: Self = Self(1 << 2);
    /// `admin`: the token's `sub` acts for the application.
    pub const ADMIN: Self = Self(1 << 3);
    /// `notify`: notify anybody, as the application's back end.
    pub const NOTIFY: Self = Self(1 << 4);
    /// All of them.
    pub const ALL: Self = Self(0b1_1111);
    /// Of a token without a `scope` claim.
    pub const DEFAULT: Self = Self(Self::READ.0 | Self::WRITE.0);

    const WORDS: [(&'static str, Self); 5] = [
        ("rooms:create", Self::ROOMS_CREATE),
        ("read", Self::READ),
        ("write", Self::WRITE),
        ("admin", Self::ADMIN),
        ("notify", Self::NOTIFY),
    ];

    /// Whether all of `wanted` are in it.
    #[must_use]
    pub fn contains(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Both together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// From words. Unknown ones are somebody else's and give nothing.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().fold(Self::NONE, |scopes, word| {
            Self::WORDS.iter().find(|(known, _)| *known == word).map_or(scopes, |(_, scope)| scopes.union(*scope))
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> =
            Self::WORDS.iter().filter(|(_, scope)| self.contains(*scope)).map(|(word, _)| *word).collect();
        out.write_str(&words.join(" "))
    }
}
