#!/bin/sh
# Renews requirements/*.txt from pyproject.toml: exact versions with hashes, for every platform, no index named.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}
set -- --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra all --upgrade
"$uv" pip compile "$@" pyproject.toml -o requirements/run.txt
"$uv" pip compile "$@" --group dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
