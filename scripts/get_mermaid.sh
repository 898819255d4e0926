#!/usr/bin/env bash
# Gets Mermaid's browser script, which draws the diagrams of the documentation site, and checks its digest.
# Usage: get_mermaid.sh FILE. Prints nothing when the file is there already.
set -euo pipefail

file="$1"
version=11.17.2
digest=581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8

matches() { echo "$digest  $1" | sha256sum --check --status 2>/dev/null; }

if matches "$file"; then exit 0; fi
if ! command -v npm >/dev/null; then
    echo "The documentation site needs Mermaid $version, and npm is not installed." >&2
    echo "Expected: $file, or npm on PATH. Next: sudo apt-get install npm" >&2
    exit 1
fi
directory="$(mktemp -d)"
trap 'rm -rf "$directory"' EXIT
(cd "$directory" && npm pack --silent "mermaid@$version" >/dev/null)
tar -xzOf "$directory/mermaid-$version.tgz" package/dist/mermaid.min.js >"$directory/mermaid.min.js"
if ! matches "$directory/mermaid.min.js"; then
    echo "The downloaded Mermaid $version is not the expected file." >&2
    echo "Expected: SHA-256 $digest. Next: compare the package with the one that its authors published." >&2
    exit 1
fi
mkdir -p "$(dirname "$file")"
mv "$directory/mermaid.min.js" "$file"
echo "Mermaid $version: $file"
