#![no_main]

libfuzzer_sys::fuzz_target!(|input: bellwether_fuzz::ops::Input| bellwether_fuzz::ops::run(input));
