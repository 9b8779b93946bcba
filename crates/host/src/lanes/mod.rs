//! MD5 of sixteen contents at once, one in each lane of a vector.
//!
//! What it is: the compression function of RFC 1321 over sixteen states. One content cannot be hashed faster than its chain of
//! blocks allows, but sixteen that have nothing to do with each other are hashed in little more than the time of two. Whether the
//! processor has the instructions (AVX2) is found out when the program runs; where it has not, it is the crate `md-5`, a lane after
//! the other.
//!
//! What it is not: it reads no file ([`crate::baseline`] does), and knows nothing of a content's end but [`pad`].

#[cfg(target_arch = "x86_64")]
mod avx2;

/// How many contents are hashed at once.
pub(crate) const LANES: usize = 16;

/// Bytes of one block.
pub(crate) const BLOCK: usize = 64;

/// How long the end of a content is at most, in bytes: see [`pad`].
pub(crate) const END: usize = 2 * BLOCK;

/// The state of MD5 in every lane: word, then lane.
pub(crate) type States = [[u32; LANES]; 4];

/// What each state begins with.
pub(crate) const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The constants of the 64 steps.
#[cfg(target_arch = "x86_64")]
const K: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// The 64 steps, for whoever has `add`, `splat`, `rotate` and the four functions for its vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! steps {
    ($state:expr, $m:expr) => {{
        let [mut a, mut b, mut c, mut d] = $state;
        steps!(round a b c d $m, f, 0, 1, 0, (7, 25) (12, 20) (17, 15) (22, 10));
        steps!(round a b c d $m, g, 16, 5, 1, (5, 27) (9, 23) (14, 18) (20, 12));
        steps!(round a b c d $m, h, 32, 3, 5, (4, 28) (11, 21) (16, 16) (23, 9));
        steps!(round a b c d $m, i, 48, 7, 0, (6, 26) (10, 22) (15, 17) (21, 11));
        [a, b, c, d]
    }};
    (round $a:ident $b:ident $c:ident $d:ident $m:expr, $f:ident, $k:literal, $by:literal, $from:literal, $($s:tt)*) => {
        steps!(four $a $b $c $d $m, $f, $k, $by, $from, 0, $($s)*);
        steps!(four $a $b $c $d $m, $f, $k, $by, $from, 4, $($s)*);
        steps!(four $a $b $c $d $m, $f, $k, $by, $from, 8, $($s)*);
        steps!(four $a $b $c $d $m, $f, $k, $by, $from, 12, $($s)*);
    };
    (four $a:ident $b:ident $c:ident $d:ident $m:expr, $f:ident, $k:literal, $by:literal, $from:literal, $at:literal,
        $s0:tt $s1:tt $s2:tt $s3:tt) => {
        steps!(one $a $b $c $d $m, $f, $k, $by, $from, ($at), $s0);
        steps!(one $d $a $b $c $m, $f, $k, $by, $from, ($at + 1), $s1);
        steps!(one $c $d $a $b $m, $f, $k, $by, $from, ($at + 2), $s2);
        steps!(one $b $c $d $a $m, $f, $k, $by, $from, ($at + 3), $s3);
    };
    (one $a:ident $b:ident $c:ident $d:ident $m:expr, $f:ident, $k:literal, $by:literal, $from:literal, $at:tt,
        ($left:literal, $right:literal)) => {
        let known = add($m[($at * $by + $from) % 16], splat(K[$k + $at]));
        $a = add($b, rotate::<$left, $right>(add(add($a, known), $f($b, $c, $d))));
    };
}
#[cfg(target_arch = "x86_64")]
use steps;

/// What is in the lanes.
pub(crate) struct Lanes {
    states: States,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { states: START.map(|word| [word; LANES]) }
    }
}

impl Lanes {
    /// A content begins in this lane.
    pub(crate) fn begin(&mut self, lane: usize) {
        self.states.iter_mut().zip(START).for_each(|(word, start)| word[lane] = start);
    }

    /// Sends a piece of each content through its lane: all pieces must be equally long, a multiple of [`BLOCK`]. A lane without
    /// a piece is in no state afterwards and begins anew.
    ///
    /// # Panics
    /// They are not.
    pub(crate) fn compress(&mut self, pieces: &[Option<&[u8]>; LANES]) {
        let mut given = pieces.iter().flatten();
        let Some(first) = given.next() else { return };
        assert!(first.len().is_multiple_of(BLOCK) && given.clone().all(|piece| piece.len() == first.len()));
        // Two lanes alone are as fast one after the other.
        #[cfg(target_arch = "x86_64")]
        if given.count() > 1 && is_x86_feature_detected!("avx2") {
            let data = pieces.map(|piece| piece.unwrap_or(first));
            // SAFETY: the processor has these instructions.
            return unsafe { avx2::compress(&mut self.states, &data) };
        }
        self.one_by_one(pieces);
    }

    fn one_by_one(&mut self, pieces: &[Option<&[u8]>; LANES]) {
        for (lane, piece) in pieces.iter().enumerate() {
            let Some(piece) = piece else { continue };
            let mut state = self.state(lane);
            md5::block_api::compress(&mut state, piece.as_chunks().0);
            self.states.iter_mut().zip(state).for_each(|(word, new)| word[lane] = new);
        }
    }

    fn state(&self, lane: usize) -> [u32; 4] {
        self.states.each_ref().map(|word| word[lane])
    }

    /// The checksum of the content in this lane, of which everything went through, what [`pad`] adds included.
    pub(crate) fn sum(&self, lane: usize) -> [u8; 16] {
        let mut out = [0; 16];
        for (bytes, word) in out.chunks_exact_mut(4).zip(self.state(lane)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}

/// Ends a content of `length` bytes: the first `rest` bytes of `end` are those after its last whole block, and what has to follow
/// them is written behind them. Gives how many bytes of `end` are to be sent through, at most [`END`].
pub(crate) fn pad(end: &mut [u8], rest: usize, length: u64) -> usize {
    let whole = (rest + 9).next_multiple_of(BLOCK);
    end[rest] = 0x80;
    end[rest + 1..whole - 8].fill(0);
    end[whole - 8..whole].copy_from_slice(&length.wrapping_mul(8).to_le_bytes());
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::{Digest as _, Md5};
    use proptest::prelude::*;

    /// A content with its end.
    fn padded(content: &[u8]) -> Vec<u8> {
        let whole = content.len() / BLOCK * BLOCK;
        let mut out = content.to_vec();
        out.resize(whole + END, 0xee);
        let end = pad(&mut out[whole..], content.len() - whole, content.len() as u64);
        out.truncate(whole + end);
        out
    }

    /// Hashes contents as they come, each in the first lane that is free, all lanes by as much as the shortest allows, at most
    /// `most` blocks at once.
    fn sums(contents: &[Vec<u8>], most: usize) -> Vec<[u8; 16]> {
        let mut lanes = Lanes::default();
        let mut held: [Option<(usize, Vec<u8>)>; LANES] = Default::default();
        let (mut coming, mut out) = (contents.iter().enumerate(), vec![[0; 16]; contents.len()]);
        loop {
            for (lane, free) in held.iter_mut().enumerate().filter(|(_, held)| held.is_none()) {
                let Some((number, content)) = coming.next() else { break };
                lanes.begin(lane);
                *free = Some((number, padded(content)));
            }
            let Some(shortest) = held.iter().flatten().map(|(_, rest)| rest.len()).min() else { return out };
            let length = shortest.min(most * BLOCK);
            lanes.compress(&held.each_ref().map(|held| held.as_ref().map(|(_, rest)| &rest[..length])));
            for (lane, place) in held.iter_mut().enumerate() {
                let Some((number, rest)) = place else { continue };
                rest.drain(..length);
                if rest.is_empty() {
                    out[*number] = lanes.sum(lane);
                    *place = None;
                }
            }
        }
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        let edges = proptest::sample::select(vec![0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 4096]);
        let length = prop_oneof![3 => edges, 2 => 0..3000usize, 1 => 0..40_000usize];
        (length, any::<u64>()).prop_map(|(length, seed)| {
            let mut state = seed | 1;
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            (0..length).map(|_| byte()).collect()
        })
    }

    proptest! {
        #[test]
        fn every_content_has_the_sum_that_it_has_alone(
            contents in proptest::collection::vec(content(), 1..50),
            most in 1..600usize,
        ) {
            let alone: Vec<[u8; 16]> = contents.iter().map(|content| Md5::digest(content).into()).collect();
            prop_assert_eq!(sums(&contents, most), alone);
        }
    }

    #[test]
    fn with_and_without_the_instructions_lanes_are_the_same() {
        let pieces: Vec<Vec<u8>> =
            (0..LANES).map(|lane| (0..320).map(|at| (at * 7 + lane * 31) as u8).collect()).collect();
        let given = std::array::from_fn(|lane| Some(&pieces[lane][..]));
        let (mut fast, mut slow) = (Lanes::default(), Lanes::default());
        fast.compress(&given);
        slow.one_by_one(&given);
        assert_eq!(fast.states, slow.states);
    }
}
