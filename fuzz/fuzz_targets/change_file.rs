//! libFuzzer's way into [`greenroom_fuzz::change_file`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| greenroom_fuzz::change_file(data));

#[cfg(not(fuzzing))]
fn main() {}
