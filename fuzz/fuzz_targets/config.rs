#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looptop_fuzz_inputs::config::run(data));
