#![no_main]

libfuzzer_sys::fuzz_target!(|input: bellwether_fuzz::Input| bellwether_fuzz::run(input));
