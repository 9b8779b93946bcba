//! libFuzzer's way into [`greenroom_fuzz::enrolment`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| greenroom_fuzz::enrolment(data));

#[cfg(not(fuzzing))]
fn main() {}
