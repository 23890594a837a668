#!/bin/sh
# Compiles the three lock files anew. Called by make, from the repository root.
#
# Universal: one file serves Linux and macOS, every Python from 3.11 on. With hashes, so that pip refuses anything
# else. Without a word on where it was compiled: which index serves the packages is pip's own configuration.
# A version that is locked stays while it fits; UPGRADE=1 takes the newest.
set -eu

python=${PYTHON:-python3}
uv=.local/lock/bin/uv

if ! [ -x "$uv" ]; then
    echo '== Installing uv under .local/'
    "$python" -m venv .local/lock
    .local/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
fi

compile() {
    lock=$1
    shift
    echo "== $lock"
    "$uv" pip compile --quiet ${UPGRADE:+--upgrade} --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file "$lock" "$@"
}

compile requirements-dev.lock --extra local --extra tracing --group dev pyproject.toml
# What runs in production is what was tested: the same versions, fewer packages.
compile requirements.lock --constraint requirements-dev.lock pyproject.toml
compile deploy/local/ministack.lock deploy/local/ministack.in
