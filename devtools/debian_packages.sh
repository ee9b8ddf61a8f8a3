#!/bin/sh
# Install Debian packages that are missing: debian_packages.sh COMMAND-OR-FILE=PACKAGE ...
# An entry is left alone when its command (or absolute file) is already there.
set -eu

missing=""
for pair in "$@"; do
    probe=${pair%%=*}
    package=${pair#*=}
    case $probe in
        /*) ls $probe >/dev/null 2>&1 || missing="$missing $package" ;;
        *) command -v "$probe" >/dev/null 2>&1 || missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "mien needs the packages$missing; this is no Debian or Ubuntu, so install them with your own package manager." >&2
    exit 9
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "mien needs the packages$missing and there is no sudo; as root run: apt-get install$missing" >&2
        exit 9
    fi
    as_root="sudo"
fi
echo "installing Debian packages:$missing"
log=$(mktemp)
# Many machines carry an old package list, so refresh it once before asking for names.
if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "could not install$missing; check the network and the package sources, then run the command again (log: $log)" >&2
    exit 10
fi
rm -f "$log"
