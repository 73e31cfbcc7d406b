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
python3 -m venv "$place"
"$place/bin/python" -m pip -q install --require-hashes -r "$GITHUB_ACTION_PATH/requirements/run.txt"
"$place/bin/python" -m pip -q install --no-deps "$GITHUB_ACTION_PATH"
echo "$place/bin" >>"$GITHUB_PATH"
