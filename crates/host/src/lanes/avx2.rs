//! Sixteen lanes in two registers of 256 bits: two chains side by side keep the processor busy.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    _mm256_xor_si256,
};

use super::{BLOCK, K, LANES, States, steps};

/// Sixteen lanes.
#[derive(Clone, Copy)]
struct Both(__m256i, __m256i);

/// As [`super::compress`], which has compared the lengths.
#[target_feature(enable = "avx2")]
pub(super) fn compress(states: &mut States, data: &[&[u8]; LANES]) {
    let mut state = states.each_ref().map(|word| Both(load(&word[..8]), load(&word[8..])));
    for at in (0..data[0].len()).step_by(BLOCK) {
        let m = words(data, at);
        let new = steps!(state, m);
        for (old, new) in state.iter_mut().zip(new) {
            *old = add(*old, new);
        }
    }
    for (word, state) in states.iter_mut().zip(state) {
        // SAFETY: each word of the states is sixteen lanes long.
        unsafe {
            _mm256_storeu_si256(word.as_mut_ptr().cast(), state.0);
            _mm256_storeu_si256(word[8..].as_mut_ptr().cast(), state.1);
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load<T>(from: &[T]) -> __m256i {
    assert!(size_of_val(from) >= 32);
    // SAFETY: there is as much as is loaded, of whatever alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// The sixteen words of the block at `at`, each of all lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn words(data: &[&[u8]; LANES], at: usize) -> [Both; 16] {
    let zero = _mm256_setzero_si256();
    let mut out = [Both(zero, zero); 16];
    for half in 0..2 {
        let at = at + 32 * half;
        let (one, other) = (turned(data, 0, at), turned(data, 8, at));
        for word in 0..8 {
            out[8 * half + word] = Both(one[word], other[word]);
        }
    }
    out
}

/// Eight words at `at` of eight lanes: a matrix is turned.
#[target_feature(enable = "avx2")]
#[inline]
fn turned(data: &[&[u8]; LANES], lane: usize, at: usize) -> [__m256i; 8] {
    let mut rows = [_mm256_setzero_si256(); 8];
    for (row, lane) in rows.iter_mut().zip(&data[lane..]) {
        *row = load(&lane[at..at + 32]);
    }
    let mut quads = rows;
    for at in [0, 4] {
        let (low, high) =
            (_mm256_unpacklo_epi32(rows[at], rows[at + 1]), _mm256_unpackhi_epi32(rows[at], rows[at + 1]));
        let (low_2, high_2) =
            (_mm256_unpacklo_epi32(rows[at + 2], rows[at + 3]), _mm256_unpackhi_epi32(rows[at + 2], rows[at + 3]));
        quads[at] = _mm256_unpacklo_epi64(low, low_2);
        quads[at + 1] = _mm256_unpackhi_epi64(low, low_2);
        quads[at + 2] = _mm256_unpacklo_epi64(high, high_2);
        quads[at + 3] = _mm256_unpackhi_epi64(high, high_2);
    }
    let mut out = rows;
    for at in 0..4 {
        out[at] = _mm256_permute2x128_si256::<0x20>(quads[at], quads[at + 4]);
        out[at + 4] = _mm256_permute2x128_si256::<0x31>(quads[at], quads[at + 4]);
    }
    out
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(x: Both, y: Both) -> Both {
    Both(_mm256_add_epi32(x.0, y.0), _mm256_add_epi32(x.1, y.1))
}

#[target_feature(enable = "avx2")]
#[inline]
fn splat(value: u32) -> Both {
    let both = _mm256_set1_epi32(value.cast_signed());
    Both(both, both)
}

#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: Both) -> Both {
    let one = _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x.0), _mm256_srli_epi32::<RIGHT>(x.0));
    Both(one, _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x.1), _mm256_srli_epi32::<RIGHT>(x.1)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn and(x: Both, y: Both) -> Both {
    Both(_mm256_and_si256(x.0, y.0), _mm256_and_si256(x.1, y.1))
}

#[target_feature(enable = "avx2")]
#[inline]
fn or(x: Both, y: Both) -> Both {
    Both(_mm256_or_si256(x.0, y.0), _mm256_or_si256(x.1, y.1))
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(x: Both, y: Both) -> Both {
    Both(_mm256_xor_si256(x.0, y.0), _mm256_xor_si256(x.1, y.1))
}

/// `!x & y`
#[target_feature(enable = "avx2")]
#[inline]
fn not_and(x: Both, y: Both) -> Both {
    Both(_mm256_andnot_si256(x.0, y.0), _mm256_andnot_si256(x.1, y.1))
}

// The four functions of RFC 1321.

#[target_feature(enable = "avx2")]
#[inline]
fn f(x: Both, y: Both, z: Both) -> Both {
    xor(z, and(x, xor(y, z)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn g(x: Both, y: Both, z: Both) -> Both {
    or(and(x, z), not_and(z, y))
}

#[target_feature(enable = "avx2")]
#[inline]
fn h(x: Both, y: Both, z: Both) -> Both {
    xor(xor(x, y), z)
}

#[target_feature(enable = "avx2")]
#[inline]
fn i(x: Both, y: Both, z: Both) -> Both {
    xor(y, or(x, xor(z, splat(u32::MAX))))
}
