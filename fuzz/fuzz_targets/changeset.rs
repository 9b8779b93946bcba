//! libFuzzer's way into [`greenroom_fuzz::changeset`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| greenroom_fuzz::changeset(data));

#[cfg(not(fuzzing))]
fn main() {}
