#!/usr/bin/env bash
# Provides a Chromium for the tests that need a browser: an installed one, or Debian's or Ubuntu's package (as root),
# or the build that Playwright downloads. Prints one line that names it.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    if found="$(command -v "$name")"; then
        echo "Browser: $found"
        exit 0
    fi
done
if python - <<'EOF'
import os, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    sys.exit(not os.path.exists(playwright.chromium.executable_path))
EOF
then
    echo "Browser: Playwright's own"
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Browser: installing the system's package chromium"
    apt-get update -qq || true
    # On Ubuntu the package refers to a snap, which a container cannot install; then Playwright's build follows.
    if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && command -v chromium >/dev/null; then
        exit 0
    fi
fi
if python -m playwright install chromium; then
    echo "Browser: Playwright's own"
    exit 0
fi
echo "There is no browser for the tests, and none could be installed." >&2
echo "Expected: chromium, chromium-browser or google-chrome on PATH. Next: sudo apt-get install chromium" >&2
exit 1
