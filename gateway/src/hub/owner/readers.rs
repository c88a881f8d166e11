//! Pure: how many attaches of each lane a stream has out.

/// Attaches that were sent to lanes and have not come back as `Left`. Most streams are a user's own and have one reader:
/// only those with readers on several lanes need a table.
#[derive(Debug, Default)]
pub(super) enum Readers {
    #[default]
    Nobody,
    /// So many, all on this lane.
    OneLane { lane: u32, count: u32 },
    /// So many on each lane.
    Table(Box<[u32]>),
}

impl Readers {
    /// One more on a lane.
    pub(super) fn add(&mut self, lane: usize, lanes: usize) {
        let lane_number = u32::try_from(lane).unwrap_or(u32::MAX);
        match self {
            Self::Nobody => *self = Self::OneLane { lane: lane_number, count: 1 },
            Self::OneLane { lane: only, count } if *only == lane_number => *count += 1,
            Self::OneLane { lane: only, count } => {
                let mut table = vec![0; lanes].into_boxed_slice();
                table[*only as usize] = *count;
                table[lane] = 1;
                *self = Self::Table(table);
            }
            Self::Table(table) => table[lane] += 1,
        }
    }

    /// One less on a lane.
    pub(super) fn remove(&mut self, lane: usize) {
        match self {
            Self::Nobody => {}
            Self::OneLane { lane: only, count } => {
                if *only as usize == lane {
                    *count -= 1;
                    if *count == 0 {
                        *self = Self::Nobody;
                    }
                }
            }
            Self::Table(table) => {
                table[lane] = table[lane].saturating_sub(1);
                if table.iter().all(|count| *count == 0) {
                    *self = Self::Nobody;
                }
            }
        }
    }

    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// The lanes that have some.
    pub(super) fn lanes(&self) -> impl Iterator<Item = usize> + '_ {
        let (only, table): (Option<usize>, &[u32]) = match self {
            Self::Nobody => (None, &[]),
            Self::OneLane { lane, .. } => (Some(*lane as usize), &[]),
            Self::Table(table) => (None, table),
        };
        only.into_iter().chain(table.iter().enumerate().filter(|(_, count)| **count > 0).map(|(lane, _)| lane))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LANES: usize = 3;

    proptest! {
        /// Whatever comes and goes, the lanes with readers are those of a plain table.
        #[test]
        fn the_lanes_with_readers_are_those_of_a_plain_table(
            steps in prop::collection::vec((prop::bool::ANY, 0..LANES), 0..50),
        ) {
            let mut readers = Readers::default();
            let mut plain = [0_u32; LANES];
            for (add, lane) in steps {
                if add {
                    readers.add(lane, LANES);
                    plain[lane] += 1;
                } else if plain[lane] > 0 {
                    readers.remove(lane);
                    plain[lane] -= 1;
                }
                let expected: Vec<usize> = (0..LANES).filter(|lane| plain[*lane] > 0).collect();
                prop_assert_eq!(readers.lanes().collect::<Vec<_>>(), expected);
                prop_assert_eq!(readers.is_empty(), plain == [0; LANES]);
            }
        }
    }
}
