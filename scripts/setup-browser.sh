#!/usr/bin/env bash
# Installs what the browser check of examples/service needs: Chromium, its driver, Selenium for Debian's Python, and a font.
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
/usr/bin/python3 -c 'import selenium' 2>/dev/null || missing+=(python3 python3-selenium)
[ -d /usr/share/fonts/truetype/dejavu ] || missing+=(fonts-dejavu-core)
if [ "${#missing[@]}" -eq 0 ]; then
    echo "setup-browser: there is Chromium and its driver; nothing to do"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "setup-browser: there is no apt-get to install: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "setup-browser: please run this as root, or: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "setup-browser: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
echo "setup-browser: done"
