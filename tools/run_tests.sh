#!/bin/sh
# Runs every test and every check: tools/run_tests.sh
#
# Needs Python 3.11 or newer, and on Debian, as root, nothing else: what is
# missing (bindep.txt) is installed. As another user it tells what is missing,
# and the tests that need it, or root, are skipped. With
# FUEL_AGENT_CURL_NO_SKIP=1 they fail in place of that.
set -eu
cd "$(dirname "$0")/.."

venv=.tests-venv
count=.tox/cover/tmp/tests-count.txt
python=${PYTHON:-python3}
export PIP_DISABLE_PIP_VERSION_CHECK=1

apt_install() {
    # Installed is all that a server should be: while this file is there, no
    # package starts a service.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        ours=yes
    fi
    apt-get update --quiet --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet \
        --no-install-recommends "$@" </dev/null >/dev/null
    if [ "${ours:-}" = yes ]; then
        rm -f "$policy"
        trap - EXIT HUP INT TERM
    fi
}

may_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "$python is not Python 3.11 or newer; set PYTHON" >&2
    exit 1
fi
if [ ! -x "$venv/bin/tox" ] || [ ! -x "$venv/bin/bindep" ]; then
    # Debian keeps ensurepip in a package of its own.
    if ! "$python" -c 'import ensurepip' 2>/dev/null && may_install; then
        apt_install python3-venv
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet bindep 'tox>=4.22'
fi

missing=$("$venv/bin/bindep" --brief) || true
if [ -n "$missing" ]; then
    if may_install; then
        # shellcheck disable=SC2086  # one word for each package
        apt_install $missing
    else
        echo "not installed: $missing" >&2
    fi
fi

# root, in a clone that belongs to somebody else.
export GIT_CONFIG_COUNT=1
export GIT_CONFIG_KEY_0=safe.directory
export GIT_CONFIG_VALUE_0="$PWD"

rm -f "$count"
status=0
"$venv/bin/tox" run -e pep8,docs,build,cover || status=$?
if [ ! -s "$count" ]; then
    echo 'no test ran' >&2
    exit 1
fi
if [ "$status" != 0 ]; then
    echo 'something failed: see above' >&2
fi
cat "$count"
exit "$status"
