#!/bin/sh
# Run the role in contrib/ansible against a harmful server, on this machine.
#
#   tools/try_ansible.sh [ansible-core==2.19.14]
#
# The environment for it is made in a directory of its own, which is removed.
# fuel-agent-curl is the one on the path.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
command -v fuel-agent-curl > /dev/null

made=$(mktemp -d)
server=
trap 'kill $server 2> /dev/null; wait; rm -rf "$made"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$made/venv"
"$made/venv/bin/pip" --quiet install "${1:-ansible-core}"
"$made/venv/bin/pip" freeze | grep ansible

"$python" -m fuel_agent_curl.harmful > "$made/said" &
server=$!
until grep -q cut "$made/said"; do sleep 0.1; done
image=$(head -1 "$made/said")
url=${image%/image}
checksum=sha256:$(curl -fsS "$image" | sha256sum | cut -d' ' -f1)

cat > "$made/play.yml" << PLAY
- hosts: localhost
  connection: local
  gather_facts: false
  roles: [fuel_agent_curl]
PLAY

# Run the play; say what Ansible counts at the end.
play() {
    ANSIBLE_ROLES_PATH=contrib/ansible/roles ANSIBLE_LOCALHOST_WARNING=0 \
        ANSIBLE_INVENTORY_UNPARSED_WARNING=0 \
        "$made/venv/bin/ansible-playbook" "$made/play.yml" \
        --extra-vars "image_target=$made/disk image_checksum=$checksum" \
        --extra-vars "image_note=$made/note" "$@" > "$made/log" || true
    tail -2 "$made/log" | tr -s ' \n' ' '
    echo
}

# say TEXT COUNTS: what is to be counted after the last play.
check() {
    if ! grep -q "$2" "$made/log"; then
        cat "$made/log"
        echo "$1: not $2" >&2
        exit 1
    fi
}

dry='{"image_options": ["--dry-run"]}'
play --check --extra-vars "image_url=$image"
check 'a check' 'changed=1 .*failed=0'
play --extra-vars "image_url=$image" --extra-vars "$dry"
check 'a dry run' 'changed=1 .*failed=0'
[ ! -e "$made/disk" ]
[ ! -e "$made/note" ]

play --extra-vars "image_url=$url/nothing"
check 'a failure' 'failed=1'
grep -q 'the server answered 404' "$made/log"

play --extra-vars "image_url=$url/cut/5000000/image"
check 'a copy' 'changed=2 .*failed=0'
echo "${checksum#sha256:}  $made/disk" | sha256sum --check --quiet

play --extra-vars "image_url=$image"
check 'once more' 'changed=0 .*failed=0'

again='{"image_again": true}'
play --check --extra-vars "image_url=$image" --extra-vars "$again"
check 'a check of what is there' 'failed=0'
play --extra-vars "image_url=$image" --extra-vars "$again" \
    --extra-vars "$dry"
check 'a dry run of what is there' 'changed=1 .*failed=0'
[ -e "$made/note" ]

play --extra-vars "image_url=$url/nothing" --extra-vars "$again"
check 'a failure of what was there' 'failed=1'
[ ! -e "$made/note" ]
play --extra-vars "image_url=$image"
check 'a copy after that' 'changed=2 .*failed=0'
[ -e "$made/note" ]
echo 'all is well'
