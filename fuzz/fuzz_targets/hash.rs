#![no_main]

libfuzzer_sys::fuzz_target!(|input: bellwether_fuzz::hashes::Input| bellwether_fuzz::hashes::run(input));
