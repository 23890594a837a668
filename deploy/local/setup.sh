#!/bin/sh
# Sets a checkout up: .venv from requirements-dev.lock, the project in it, the local AWS beside it.
# Called by make, from the repository root, with PYTHON naming the interpreter to build on.
#
# .venv/.unfinished holds this process's number while the set-up runs; .venv/.ready, written last, holds the
# checkout's path. A set-up that was interrupted leaves the first and not the second, and is done over from scratch.
set -eu

python=${PYTHON:-python3}
inside=.venv/bin/python
old_enough='import sys; sys.exit(sys.version_info < (3, 11))'

fail() {
    printf '\nCannot set up: %s\n' "$1" >&2
    exit 1
}

step() {
    printf '== %s\n' "$1"
}

command -v "$python" >/dev/null 2>&1 \
    || fail "there is no '$python' here. Install Python 3.11 or later, or name one: make setup PYTHON=python3.11"
"$python" -c "$old_enough" \
    || fail "'$python' is $("$python" -V 2>&1); 3.11 or later is needed. Name another: make setup PYTHON=python3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null \
    || fail "'$python' cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"

usable() {
    # Its own path is written into its commands: one that was copied along with the checkout is of no use.
    grep -qF "$(pwd -P)/.venv" .venv/bin/activate && "$inside" -c "$old_enough" && "$inside" -m pip --version
}

if [ -e .venv/.unfinished ]; then
    other=$(cat .venv/.unfinished)
    if kill -0 "$other" 2>/dev/null; then
        fail "another set-up of this checkout is running (process $other). Wait for it, then call make again; if it is no such thing, remove .venv first."
    fi
    step 'The last set-up did not finish: starting over'
    rm -rf .venv
fi
rm -f .venv/.ready

# A usable environment is kept, and only what the lock changed is installed.
if ! usable >/dev/null 2>&1; then
    step "Creating .venv ($("$python" -V 2>&1))"
    rm -rf .venv
    mkdir .venv
    echo "$$" >.venv/.unfinished
    "$python" -m venv .venv
fi
echo "$$" >.venv/.unfinished

step 'Installing requirements-dev.lock'
"$inside" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock

step 'Installing the project, editable'
"$inside" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

step 'Preparing the local AWS'
"$inside" -c '
import sys
from workers.local.aws import prepare
from workers.local.processes import LocalStackError
try:
    prepare(print)
except LocalStackError as error:
    sys.exit(f"\nCannot set up: {error}")
'

pwd -P >.venv/.ready
rm -f .venv/.unfinished
