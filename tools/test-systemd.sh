#!/bin/sh
# Run the tests of control groups where systemd is process 1, in a virtual machine with a kernel package of Debian:
#
#   tools/test-systemd.sh [PACKAGE [PYTEST-WORD...]]
#
# The words and NO_KVM=1 are those of tools/test-kernel.sh, which makes the machine. systemd is the one installed here,
# but of this machine's services it starts none. As root the tests ask the system's manager for their control groups, and
# as uid 1234 the user's. It needs Debian or a derivative; it takes minutes with /dev/kvm, half an hour without.
set -eu
cd "$(dirname "$0")/.."
packages="systemd dbus dbus-user-session libpam-systemd passwd"
# shellcheck disable=SC2086 # one word a package
if ! dpkg -s $packages >/dev/null 2>&1; then
    echo "test-systemd: installing $packages" >&2
    [ "$(id -u)" -eq 0 ] && sudo= || sudo=sudo
    $sudo apt-get install -qq -y --no-install-recommends $packages >/dev/null
fi
package=${1:-linux-image-amd64}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- tests/integration/test_scope.py tests/integration/test_cgroup.py
SYSTEMD=1 exec tools/test-kernel.sh "$package" "$@"
