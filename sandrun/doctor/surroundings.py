"""What this machine says of itself in files: sysctls, security modules, /proc, control groups, signs of a container."""

from __future__ import annotations

import os

SYSCTLS = (
    "user.max_user_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.yama.ptrace_scope",
    "dev.tty.legacy_tiocsti",
)
LSM_SIGNS = {"apparmor": "/sys/module/apparmor/parameters/enabled", "selinux": "/sys/fs/selinux/enforce"}
CONTAINERS = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
CGROUP_NAMES = ("docker", "kubepods", "libpod", "lxc")


def read(path: str) -> str:
    """A file of the kernel as text, "" if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def sysctl(name: str) -> str:
    """The value of a sysctl by its dotted name, "" if there is none of that name."""
    return read("/proc/sys/" + name.replace(".", "/")).strip()


def security_modules() -> tuple[str, ...]:
    """The active security modules in their order; without securityfs only those that show themselves elsewhere."""
    listed = read("/sys/kernel/security/lsm").strip()
    if listed:
        return tuple(listed.split(","))
    return tuple(name for name, path in LSM_SIGNS.items() if read(path).strip() in ("Y", "0", "1"))


def hidepid() -> str:
    """The mount option hidepid of /proc (proc(5)), "" if it is not set."""
    for line in read("/proc/self/mountinfo").splitlines():
        words = line.split()
        if len(words) > 6 and words[4] == "/proc":
            for option in words[-1].split(","):
                if option.startswith("hidepid="):
                    return option.removeprefix("hidepid=")
    return ""


def container() -> str:
    """What kind of container this seems to be, "" for none that is known: a hint for people, not a fact to decide by."""
    for path, name in CONTAINERS.items():
        if os.path.exists(path):
            return name
    named = read("/run/systemd/container").strip()
    groups = read("/proc/1/cgroup")
    return named or next((name for name in CGROUP_NAMES if name in groups), "")
