#![no_main]

libfuzzer_sys::fuzz_target!(|input: bellwether_fuzz::config::Input| bellwether_fuzz::config::run(input));
