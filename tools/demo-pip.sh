#!/bin/sh
# `make demo-pip`: install a real package from the package index, with its build script, in a sandbox that has the network
# to the index only. Needs a connection to it.
#
#   PRIVATE=CIDR     where names of the index resolve to addresses that are not globally routable: a mirror, a proxy
#   INDEX=URL        another index than pypi.org; HTTPS, and its files on the same host
#   PACKAGE=NAME     what to install; its source, so that its build back end runs too
set -eu
cd "$(dirname "$0")/.."
sandrun=$PWD/.venv/bin/sandrun
python=$PWD/.venv/bin/python
package=${PACKAGE:-iniconfig}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
HOME=$place/home
export HOME
mkdir -p "$HOME/.ssh" project
echo 'PRIVATE KEY' >"$HOME/.ssh/id_rsa"
cd project
/usr/bin/python3 -m venv venv

set -- -q -p pip
if [ -n "${PRIVATE:-}" ]; then
    set -- "$@" --private "$PRIVATE"
fi
if [ -n "${INDEX:-}" ]; then
    host=${INDEX#https://}
    host=${host%%/*}
    set -- "$@" --replace network.connect --connect "${host%:443}:443" --set "PIP_INDEX_URL=$INDEX"
fi

tell() { # what the relay did, from the record of the run
    "$python" -c '
import json
network = json.load(open("../report.json"))["outcome"]["network"]
for row in network["endpoints"]:
    print("  {endpoint}: {connections} connections, {failed} failed, {received} bytes received".format(**row))
for row in network["refused"]:
    print("  refused: {what} {target} ({reason}), {count} times".format(**row))'
}
step() {
    printf '\n# %s\n' "$1"
}

step "allowed: install $package from its source; pip fetches the build back end too"
"$sandrun" "$@" --report ../report.json -- \
    venv/bin/python -m pip install -qq --no-input --no-cache-dir --no-binary "$package" "$package"
tell
"$sandrun" -q -- venv/bin/python -m pip list --disable-pip-version-check
step 'refused: what an install script may try besides'
"$sandrun" "$@" --report ../report.json -- venv/bin/python - <<'PYTHON'
import os, socket
for host, port in ("example.org", 443), ("192.0.2.1", 443), ("169.254.169.254", 80), ("127.0.0.1", 22):
    try:
        with socket.create_connection((host, port), 10) as sock:
            # A port that is granted for other hosts is served for all of them, by a reset.
            sock.recv(1)
    except OSError as error:
        print(f"  {host}:{port}: {error}")
    else:
        raise SystemExit(f"demo-pip: {host}:{port} could be reached")
if os.path.exists(os.path.expanduser("~/.ssh/id_rsa")):
    raise SystemExit("demo-pip: a key could be seen")
PYTHON
tell
printf '\nThat is what a package can reach when it is installed.\n'
