#!/bin/sh
# Try the wheel with other interpreters, and with the oldest releases of what
# it needs. Of each: install, the demo, the unit tests.
#
#   tools/try_pythons.sh python3.12 python3.13    with the newest releases
#   tools/try_pythons.sh --lowest python3.11      with those of
#                                                 requirements.txt
#
# The environments are made in a directory of their own, which is removed.
set -eu
cd "$(dirname "$0")/.."

resolution=highest
if [ "${1:-}" = --lowest ]; then
    resolution=lowest-direct
    shift
fi
if [ $# = 0 ]; then
    echo "usage: $0 [--lowest] PYTHON..." >&2
    exit 2
fi

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
trap 'exit 130' INT TERM

# It has bounds of its own, and only functional tests need it.
grep -v '^ironic-python-agent' test-requirements.txt > "$made/tests"

python3 -m venv "$made/build"
"$made/build/bin/pip" --quiet install uv
"$made/build/bin/pip" --quiet wheel --no-deps --wheel-dir "$made" .
for python; do
    venv=$made/venv
    "$made/build/bin/uv" venv --quiet --clear --python "$python" "$venv"
    # What the tests need is not what is tried here: the newest of it, beside
    # the oldest of what is declared.
    "$made/build/bin/uv" pip install --quiet --python "$venv" \
        --resolution "$resolution" -r requirements.txt
    "$venv/bin/python" -c 'import sys; print(sys.version)'
    "$made/build/bin/uv" pip freeze --python "$venv" | tee "$made/frozen"
    "$made/build/bin/uv" pip install --quiet --python "$venv" \
        --constraint "$made/frozen" \
        "$made"/*.whl fuel-agent==11.0.0 -r "$made/tests"
    # Not the source that is beside it.
    (cd "$made" && "$venv/bin/fuel-agent-curl" demo)
    # These import the source; what it needs is what is tried.
    rm -rf "$made/source"
    git checkout-index --all --prefix "$made/source/"
    # fuel-agent's drivers import what Python 3.13 has no more.
    "$venv/bin/python" -W ignore -c 'import crypt' 2> "$made/said" ||
        rm "$made/source/tests/unit/test_drivers.py"
    (cd "$made/source" && PYTHON="$venv/bin/python" \
        OS_TEST_PATH=./tests/unit "$venv/bin/stestr" --repo-url "$made" \
        run --concurrency "${FUEL_AGENT_CURL_CONCURRENCY:-2}")
done
