//! libFuzzer's way into [`greenroom_fuzz::egress`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| greenroom_fuzz::egress(data));

#[cfg(not(fuzzing))]
fn main() {}
