#!/bin/sh
# Removes what make and the tools made. Called by make, from the repository root.
set -eu

if [ -d .local ]; then
    # Removing a running server's files leaves a server that nobody can stop by its usual means.
    find .local -name postmaster.pid | while read -r file; do
        if kill -0 "$(head -n 1 "$file")" 2>/dev/null; then
            echo "A local stack is running in ${file%/*}: end it first (Ctrl-C where it was started)." >&2
            exit 1
        fi
    done
fi

rm -rf .venv .local .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
