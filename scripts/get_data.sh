#!/bin/sh
# Puts Fashion-MNIST where ExampleGen finds it, without root: on Debian and Ubuntu from the package
# dataset-fashion-mnist, so that a machine that reaches only package registries has the real data.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
files="train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz"
package=dataset-fashion-mnist
unpacked=$root/.data/usr/share/datasets/fashion-mnist

has_files() {
    for file in $files; do
        [ -f "$1/$file" ] || return 1
    done
}

found() {
    echo "Fashion-MNIST: $1"
    exit 0
}

if [ -n "${FASHION_MNIST_DIR:-}" ]; then
    has_files "$FASHION_MNIST_DIR" && found "using FASHION_MNIST_DIR=$FASHION_MNIST_DIR"
    echo "FASHION_MNIST_DIR=$FASHION_MNIST_DIR does not hold Fashion-MNIST." >&2
    echo "Expected: $files" >&2
    echo "Next: correct FASHION_MNIST_DIR or unset it" >&2
    exit 1
fi
for prepared in "${TFDS_DATA_DIR:-${HOME:-}/tensorflow_datasets}"/fashion_mnist/*/dataset_info.json; do
    [ -f "$prepared" ] && found "using prepared TFDS data in $(dirname "$prepared")"
done
for directory in "$unpacked" /usr/share/datasets/fashion-mnist; do
    has_files "$directory" && found "using $directory"
done
command -v apt-get >/dev/null && command -v dpkg >/dev/null || found "TFDS will download it at the first run"

# The download needs a package list. If the system has none, a private one works, without root too.
work=$root/.data/apt
mkdir -p "$work/download"
cd "$work/download"
rm -f ./*.deb
if ! apt-get download "$package" >"$work/log" 2>&1; then
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    set -- -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o "Dir::Cache::Archives=$work/archives"
    echo "Fashion-MNIST: fetching a package list ..."
    if ! { apt-get "$@" update && apt-get "$@" download "$package"; } >>"$work/log" 2>&1; then
        echo "Fashion-MNIST: the package $package could not be downloaded (see $work/log)"
        found "TFDS will download it at the first run"
    fi
fi
# Unpack elsewhere and move, so that an interrupted run leaves no incomplete directory.
rm -rf "$work/unpacked"
dpkg -x ./"$package"_*.deb "$work/unpacked"
mkdir -p "$root/.data/usr/share/datasets"
rm -rf "$unpacked"
mv "$work/unpacked/usr/share/datasets/fashion-mnist" "$unpacked"
rm -rf "$work"
has_files "$unpacked" || { echo "The package $package no longer holds the four files." >&2; exit 1; }
found "unpacked Debian's package $package into $unpacked"
