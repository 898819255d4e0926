#!/bin/sh
# Puts promtool, which tests the alert rules, where `make alerts` finds it, without root: an installed one, or the one of
# the package `prometheus` of Debian and Ubuntu, unpacked into .data/. Prints its path.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
unpacked=$root/.data/prometheus/usr/bin/promtool

if command -v promtool; then
    exit 0
fi
if [ -x "$unpacked" ]; then
    echo "$unpacked"
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "There is no promtool. Next: install Prometheus, https://prometheus.io/download/" >&2
    exit 1
fi

# The download needs a package list. If the system has none, a private one works, without root too.
work=$root/.data/apt-prometheus
mkdir -p "$work/download"
cd "$work/download"
rm -f ./*.deb
if ! apt-get download prometheus >"$work/log" 2>&1; then
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    set -- -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o "Dir::Cache::Archives=$work/archives"
    if ! { apt-get "$@" update && apt-get "$@" download prometheus; } >>"$work/log" 2>&1; then
        echo "There is no promtool, and the package prometheus could not be downloaded (see $work/log)." >&2
        echo "Next: sudo apt-get install prometheus, or https://prometheus.io/download/" >&2
        exit 1
    fi
fi
# Unpack elsewhere and move, so that an interrupted run leaves no incomplete program.
rm -rf "$work/unpacked"
dpkg -x ./prometheus_*.deb "$work/unpacked"
mkdir -p "$(dirname "$unpacked")"
mv "$work/unpacked/usr/bin/promtool" "$unpacked"
rm -rf "$work"
echo "$unpacked"
