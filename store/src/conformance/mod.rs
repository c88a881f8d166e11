//! One suite for both back ends.
