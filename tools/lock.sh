#!/bin/sh
# Renews requirements/*.txt from pyproject.toml: exact versions with hashes, for every platform, no index named.
#   run.txt     the program with all its extras      server.txt  a server, as the image has it
#   dev.txt     the same, and what tests need        build.txt   what builds the package
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}
set -- --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
"$uv" pip compile "$@" --upgrade --extra all pyproject.toml -o requirements/run.txt
"$uv" pip compile "$@" --upgrade --extra all --group dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
"$uv" pip compile "$@" --extra tracing -c requirements/dev.txt pyproject.toml -o requirements/server.txt
printf 'hatchling\nhatch-vcs\n' | "$uv" pip compile "$@" -c requirements/dev.txt - -o requirements/build.txt
