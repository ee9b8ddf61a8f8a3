#!/bin/sh
# Make .venv from the pinned requirements. Does nothing when it is already there and the pins have not changed.
# PYTHON names an interpreter; TORCH_INDEX names a package index for torch and torchvision alone (see README).
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

works() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }

pick_python() {
    if [ -n "${PYTHON:-}" ]; then
        works "$PYTHON" && { echo "$PYTHON"; return; }
        say "PYTHON=$PYTHON is not Python 3.10, 3.11 or 3.12; name one that is, or leave PYTHON away."
        exit 9
    fi
    for candidate in python3 python3.12 python3.11 python3.10; do
        works "$candidate" && { echo "$candidate"; return; }
    done
    say "mien needs Python 3.10, 3.11 or 3.12 and found $(python3 --version 2>/dev/null || echo none); install one, or name it: make demo PYTHON=/path/to/python3.12"
    exit 9
}

python=$(pick_python)
stamp=.venv/.mien-ready
wanted=$( (cat pyproject.toml requirements/constraints.txt requirements/typing.txt devtools/typings.py requirements/s3-server.txt; "$python" --version; echo "${TORCH_INDEX:-}") | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
if [ "$free_mb" -lt 6000 ]; then
    say "too little disk: the packages need about 6 GB and $free_mb MB are free here; free some space and run the command again."
    exit 10
fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    sh devtools/debian_packages.sh "/nowhere=python$version-venv"
fi

log=$(mktemp)
[ -x .venv/bin/python ] && works .venv/bin/python || "$python" -m venv --clear .venv
total=$(grep -c '==' requirements/constraints.txt)
install() {
    .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@" >>"$log" 2>&1 &
    pip=$!
    trap 'kill $pip 2>/dev/null || true; exit 130' INT TERM
    started=$(date +%s)
    while kill -0 $pip 2>/dev/null; do
        if [ -t 2 ]; then
            found=$(grep -c '^Collecting' "$log" || true)
            printf '\r  installing packages: %s of about %s looked up, %ss ' "$found" "$total" "$(($(date +%s) - started))" >&2
        fi
        sleep 1
    done
    if [ -t 2 ]; then printf '\n' >&2; fi
    wait $pip
}
say "making .venv with $python (Python $version); packages are downloaded once"
failed=""
if [ -n "${TORCH_INDEX:-}" ]; then
    install --index-url "$TORCH_INDEX" torch==2.13.0 torchvision==0.28.0 || failed=1
fi
[ -n "$failed" ] || install -c requirements/constraints.txt -e '.[edge,train,optimize,fleet,dev]' || failed=1
[ -n "$failed" ] || .venv/bin/python devtools/typings.py >>"$log" 2>&1 || failed=1
[ -n "$failed" ] || .venv/bin/python devtools/s3_server.py >>"$log" 2>&1 || failed=1
if [ -n "$failed" ]; then
    grep -iE 'error|could not' "$log" | tail -n 3 >&2 || true
    say "could not install the packages (log: $log); check the network or your package index, then run the command again."
    exit 10
fi

# OpenCV's wheel links against libGL and GLib, which a minimal system lacks.
if ! .venv/bin/python -c 'import cv2' >/dev/null 2>&1; then
    sh devtools/debian_packages.sh '/usr/lib/*/libGL.so.1=libgl1' '/usr/lib/*/libglib-2.0.so.0=libglib2.0-0'
    .venv/bin/python -c 'import cv2'
fi
rm -f "$log"
echo "$wanted" >"$stamp"
