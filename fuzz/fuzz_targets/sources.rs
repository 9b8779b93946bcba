//! libFuzzer's way into [`greenroom_fuzz::sources`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| greenroom_fuzz::sources(data));

#[cfg(not(fuzzing))]
fn main() {}
