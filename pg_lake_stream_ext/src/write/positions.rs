//! A set of row positions in one file.

/// Positions, kept as bits: a million rows take 125 kB, whatever their number and order.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    words: Vec<u64>,
    count: u64,
}

impl Positions {
    /// Adds a position; false if it was there.
    pub fn insert(&mut self, position: u64) -> bool {
        let (word, bit) = place(position);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    /// Whether a position is in the set.
    pub fn contains(&self, position: u64) -> bool {
        let (word, bit) = place(position);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Number of positions.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// The positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.words.iter().enumerate().flat_map(|(word, bits)| {
            let mut rest = *bits;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(word as u64 * 64 + u64::from(bit))
            })
        })
    }
}

fn place(position: u64) -> (usize, u64) {
    ((position / 64) as usize, 1 << (position % 64))
}
