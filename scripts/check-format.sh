#!/bin/bash
# Checks the document of the format: installs what the second reader needs, then runs it and the golden repositories
# against the program.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/tools.sh >&2
exec cargo test --test it -- format:: golden:: fuzz_replay::
