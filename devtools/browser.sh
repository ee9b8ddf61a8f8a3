#!/bin/sh
# A Chromium for the browser tests: Debian's package, or Playwright's own build elsewhere, since Ubuntu's is a snap, which
# starts only where snapd runs.
set -eu
cd "$(dirname "$0")/.."
. /etc/os-release
if [ "${ID:-}" = debian ]; then
    exec sh devtools/debian_packages.sh /usr/lib/chromium/chromium=chromium
fi
.venv/bin/python -c '
import pathlib, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    sys.exit(not pathlib.Path(playwright.chromium.executable_path).exists())
' || .venv/bin/python -m playwright install --with-deps chromium
