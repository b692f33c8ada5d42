//! Go's `math/rand` source: an additive lagged Fibonacci generator of 607 words with a tap at 273.
//!
//! Calico draws a node's first block from it, so a node finds the same blocks whichever program asks. Only what
//! that needs is here: seeding, 32-bit words, and `big.Int.Rand`'s rule for a number below a limit.

use crate::go_rand_table::COOKED;

const LENGTH: usize = 607;
const TAP: usize = 273;
const MODULUS: i64 = (1 << 31) - 1;

/// The generator's register.
pub(crate) struct GoRand {
    words: [u64; LENGTH],
    tap: usize,
    feed: usize,
}

impl GoRand {
    /// Seeds the register: three steps of the Lehmer generator per word, mixed with Go's table.
    pub(crate) fn seeded(seed: i64) -> Self {
        let mut lehmer = match seed.rem_euclid(MODULUS) {
            0 => 89_482_311,
            seed => seed,
        };
        let mut step = || {
            lehmer = 48_271 * lehmer % MODULUS;
            lehmer
        };
        for _ in 0..20 {
            step();
        }
        let words = std::array::from_fn(|index| ((step() << 40) ^ (step() << 20) ^ step() ^ COOKED[index]) as u64);
        GoRand { words, tap: 0, feed: LENGTH - TAP }
    }

    fn next_u64(&mut self) -> u64 {
        self.tap = self.tap.checked_sub(1).unwrap_or(LENGTH - 1);
        self.feed = self.feed.checked_sub(1).unwrap_or(LENGTH - 1);
        let sum = self.words[self.feed].wrapping_add(self.words[self.tap]);
        self.words[self.feed] = sum;
        sum
    }

    /// The upper half of Go's 63-bit number.
    fn next_u32(&mut self) -> u32 {
        ((self.next_u64() & (u64::MAX >> 1)) >> 31) as u32
    }

    /// Draws a number below `limit`; 0 when the limit is 0.
    ///
    /// 64-bit words, the least significant first, each of two 32-bit draws; the top word is masked to the bit
    /// length of the limit itself, and everything is drawn again while the number is not below the limit.
    pub(crate) fn below(&mut self, limit: u128) -> u128 {
        if limit == 0 {
            return 0;
        }
        let bits = u128::BITS - limit.leading_zeros();
        let mask = u128::MAX >> (u128::BITS - bits);
        loop {
            let mut drawn = 0;
            for shift in (0..bits).step_by(64) {
                let low = u128::from(self.next_u32());
                let high = u128::from(self.next_u32());
                drawn |= (low | (high << 32)) << shift;
            }
            drawn &= mask;
            if drawn < limit {
                return drawn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_go() {
        // rand.New(rand.NewSource(seed)): the first three Uint64(), printed by Go
        for (seed, expect) in SOURCE_WORDS {
            let mut rand = GoRand::seeded(seed);
            assert_eq!([rand.next_u64(), rand.next_u64(), rand.next_u64()], expect, "seed {seed}");
        }
    }

    const SOURCE_WORDS: [(i64, [u64; 3]); 4] = [
        (0, [8717895732742165505, 2259404117704393152, 6050128673802995827]),
        (1, [5577006791947779410, 8674665223082153551, 15352856648520921629]),
        (-7, [9970479060831305739, 16308104968817794534, 6995717851144434728]),
        (1795390711219867863, [10464362968559310449, 7672089686573943807, 5319035534791940541]),
    ];
}
