//! libFuzzer's way into [`greenroom_fuzz::api`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| greenroom_fuzz::api(data));

#[cfg(not(fuzzing))]
fn main() {}
