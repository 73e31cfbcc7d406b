#!/bin/sh
# Write the hash-locked requirements/*.txt anew, from pyproject.toml and requirements/*.in. Needs uv on PATH.
# The hashes are those of every file of a release, so that one lock serves every Python and architecture.
set -eu
cd "$(dirname "$0")/.."
lock() {
    out=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
        --output-file "requirements/$out" "$@"
}
lock dev.txt "$@" pyproject.toml requirements/build.in requirements/dev.in
# Two others are parts of the first, in the same versions.
lock run.txt --constraint requirements/dev.txt pyproject.toml
lock bench.txt requirements/bench.in
lock build.txt --constraint requirements/dev.txt requirements/build.in
