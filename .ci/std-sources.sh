# To be sourced: what follows can build the standard library (`-Zbuild-std`). By nightly, where that has its sources (the component
# rust-src); otherwise by Debian's newest compiler, whose sources are a package. rustup's servers are not to be had everywhere.
if [ -e "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; then
    rustc +nightly --version
else
    echo "The nightly toolchain has no component rust-src; by Debian's compiler:"
    root=$(.ci/debian-rustc.sh newest rust-web-src) || {
        echo "neither nightly's rust-src nor Debian's rust-web-src is to be had" >&2
        exit 1
    }
    export RUSTC=$root/usr/bin/rustc LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu RUSTC_BOOTSTRAP=1
    "$RUSTC" --version
fi
