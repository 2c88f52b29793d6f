#![no_main]

libfuzzer_sys::fuzz_target!(|input: bellwether_fuzz::concurrent::Input| bellwether_fuzz::concurrent::run(input));
