#!/bin/sh
# A Chromium for the browser tests: Debian's package, or Playwright's own build where the distribution has none (Ubuntu).
set -eu
cd "$(dirname "$0")/.."
for browser in chromium chromium-browser google-chrome; do
    command -v "$browser" >/dev/null 2>&1 && exit 0
done
. /etc/os-release
if [ "${ID:-}" = debian ]; then
    exec sh devtools/debian_packages.sh chromium=chromium
fi
.venv/bin/python -m playwright install --with-deps chromium
