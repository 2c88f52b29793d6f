#!/usr/bin/env bash
# Installs what the README's two commands need beyond cargo: a C compiler, for the SQLite that the demos bundle.
set -euo pipefail

if command -v cc >/dev/null; then
    echo "setup: there is a C compiler ($(cc --version | head -n1 || true)); nothing to do"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "setup: there is no C compiler (cc), and no apt-get to install one: please install gcc or clang" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "setup: there is no C compiler (cc); please run this as root, or: sudo apt-get install gcc libc6-dev" >&2
    exit 1
fi
echo "setup: installing a C compiler (gcc, libc6-dev)"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends gcc libc6-dev
echo "setup: done ($(cc --version | head -n1 || true))"
