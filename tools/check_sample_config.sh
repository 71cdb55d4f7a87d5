#!/bin/sh
# Fails unless the sample in git is what "tox -e genconfig" writes.
set -eu
cd "$(dirname "$0")/.."

made=$(mktemp)
trap 'rm -f "$made"' EXIT
oslo-config-generator --config-file tools/config-generator.conf \
    --output-file "$made"
if ! diff -u etc/fuel-agent-curl.conf.sample "$made"; then
    echo 'run "tox -e genconfig", and commit what it wrote' >&2
    exit 1
fi
