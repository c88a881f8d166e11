//! Reads postcard without believing it: a list gets memory for what its bytes can hold, not for what it says it holds.

use postcard::de_flavors::Flavor;
use postcard::{Deserializer, Error, Result};
use serde::Deserialize;

/// Bytes that must be left for each entry of a list before memory for all of them is asked for at once. The widest entry, a
/// task, has some 300 bytes in memory; a list that claims more than this grows as its entries come.
const BYTES_LEFT_PER_ENTRY: usize = 32;

/// Takes a value from the beginning of some bytes; returns the rest, too.
pub(crate) fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8])> {
    let mut deserializer = Deserializer::from_flavor(Bounded(bytes));
    let value = T::deserialize(&mut deserializer)?;
    Ok((value, deserializer.finalize()?))
}

struct Bounded<'de>(&'de [u8]);

impl<'de> Flavor<'de> for Bounded<'de> {
    type Remainder = &'de [u8];
    type Source = &'de [u8];

    fn pop(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().ok_or(Error::DeserializeUnexpectedEnd)?;
        self.0 = rest;
        Ok(*first)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len() / BYTES_LEFT_PER_ENTRY)
    }

    fn try_take_n(&mut self, count: usize) -> Result<&'de [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::DeserializeUnexpectedEnd)?;
        self.0 = rest;
        Ok(taken)
    }

    fn finalize(self) -> Result<&'de [u8]> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whether_its_entries_are_long_or_short() {
        let (short, long) = (vec![7_u64; 500], vec!["x".repeat(40); 500]);
        for rest in [&b""[..], b"rest"] {
            let bytes = [postcard::to_stdvec(&short).unwrap_or_default(), rest.to_vec()].concat();
            assert_eq!(take(&bytes), Ok((short.clone(), rest)));
            let bytes = [postcard::to_stdvec(&long).unwrap_or_default(), rest.to_vec()].concat();
            assert_eq!(take(&bytes), Ok((long.clone(), rest)));
        }
    }
}
