#![no_main]

libfuzzer_sys::fuzz_target!(|input: bellwether_fuzz::leases::Input| bellwether_fuzz::leases::run(input));
