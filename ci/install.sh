#!/usr/bin/env bash
# Install sandrun from the action's own checkout, unless the job has it, and let it make user namespaces.
# STEP_USERNS: "true" to allow them where AppArmor does not.
set -eu

knob=${STEP_KNOB:-/proc/sys/kernel/apparmor_restrict_unprivileged_userns}
if [ "${STEP_USERNS:-}" = true ] && [ "$(id -u)" != 0 ] && [ "$(cat "$knob" 2>/dev/null)" = 1 ]; then
    echo "sandrun: allowing user namespaces on this runner: kernel.apparmor_restrict_unprivileged_userns = 0"
    sudo -n sysctl -q -w kernel.apparmor_restrict_unprivileged_userns=0 ||
        echo "::warning title=sandrun::user namespaces stay refused, and profiles that need them end with status 125"
fi

if command -v sandrun >/dev/null; then
    exit
fi
if command -v apt-get >/dev/null; then
    root=
    [ "$(id -u)" = 0 ] || root="sudo -n"
    $root apt-get -qq update
    $root apt-get -qq install --yes --no-install-recommends libseccomp2 gcc libc6-dev libcap-dev python3-dev python3-venv
fi
# Outside of the workspace, which the step may change.
place=$RUNNER_TEMP/sandrun-program
# -I: else the first place where Python looks for a module is the workspace, which may be anybody's pull request.
python3 -I -m venv "$place"
"$place/bin/python" -I -m pip -q install --require-hashes -r "$GITHUB_ACTION_PATH/requirements/run.txt"
"$place/bin/python" -I -m pip -q install --no-deps "$GITHUB_ACTION_PATH"
# A directory with nothing else in it: the job's own python stays the first on PATH.
mkdir "$place/program"
ln -s ../bin/sandrun "$place/program/sandrun"
echo "$place/program" >>"$GITHUB_PATH"
