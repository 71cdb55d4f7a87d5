#!/bin/sh
# Measures what the documentation shows, and writes its table and its chart.
# As root, on a machine that does nothing else: eight minutes. Options are
# those of tools/bench_limits.py.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
"$python" tools/bench_limits.py --output bench-results "$@"
mkdir -p doc/source/measured
cp bench-results/bench_limits.json doc/source/measured/
"$python" tools/generate.py
