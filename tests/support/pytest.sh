#!/usr/bin/env bash
# Runs tests written in Python in the tests' own environment. usage: pytest.sh FILE... [pytest options]
set -euo pipefail
python=$("$(dirname "${BASH_SOURCE[0]}")/../../scripts/python-env")
exec "$python" -m pytest -q -rs -p no:cacheprovider "$@"
