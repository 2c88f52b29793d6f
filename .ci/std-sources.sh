# To be sourced: what follows can build the standard library (`-Zbuild-std`). By nightly, where that has its sources (the component
# rust-src); otherwise by Debian's newest compiler, whose sources are a package. rustup's servers are not to be had everywhere.
if [ -e "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; then
    rustc +nightly --version
else
    echo "The nightly toolchain has no component rust-src; by Debian's compiler:"
    root=$(.ci/debian-rustc.sh newest rust-web-src)
    export RUSTC=$root/usr/bin/rustc LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu RUSTC_BOOTSTRAP=1
    "$RUSTC" --version
    # ThreadSanitizer's runtime is in nightly only.
    cp "$(rustc +nightly --print target-libdir)/librustc-nightly_rt.tsan.a" \
        "$(RUSTC_BOOTSTRAP=1 "$RUSTC" --print target-libdir)/librustc-stable_rt.tsan.a"
fi
