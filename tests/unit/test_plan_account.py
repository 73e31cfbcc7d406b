"""A user of its own, and the labels of other security modules, as the plan decides about them."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

import pytest

from sandrun.errors import UnsupportedError
from sandrun.kernel import Kernel
from sandrun.plan.account import FIRST, LAST, OWN
from sandrun.plan.resolve import Resolution, resolve
from sandrun.policy.syscalls import number
from sandrun.profile import load
from tests import bpf_sim
from tests.fakes import FakeHost, device, directory, file, program

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Kernel(
    landlock_abi=7,
    landlock_state="available",
    capabilities=(1 << 41) - 1,
    userns=True,
    mountns=True,
    pidns=True,
    ipcns=True,
    netns=True,
)
PROFILES = "/sys/kernel/security/apparmor/profiles"
TREE = {
    "/bin/true": program(),
    "/dev/null": device(),
    "/srv/data": directory(),
    "/tmp": directory(0o1777),
    PROFILES: file(b"/usr/bin/man (enforce)\nnamed one (complain)\n"),
}
HOST = FakeHost(TREE, environ={"PATH": "/bin", "HOME": "/root"})
UNREADABLE = FakeHost({path: node for path, node in TREE.items() if path != PROFILES}, environ=HOST.environ)


def made(
    *flags: tuple[str, str], kernel: Kernel = ROOT, host: FakeHost = HOST, optional: Iterable[str] = ()
) -> Resolution:
    overrides = [(key, text, f"--{posixpath.basename(key)}") for key, text in flags]
    return resolve(load(("none",), overrides, optional=optional), kernel, host, ("/bin/true",))


def problem(*flags: tuple[str, str], kernel: Kernel = ROOT, host: FakeHost = HOST) -> str:
    """What the problems say, with their hints."""
    with pytest.raises(UnsupportedError) as raised:
        made(*flags, kernel=kernel, host=host)
    problems = raised.value.problems
    assert all(one.hint for one in problems)
    return "; ".join(f"{one.message} ({one.hint})" for one in problems)


USER = ("privileges.user", "dynamic")
READ = ("filesystem.read", "/")


# --- a dynamic user ------------------------------------------------------------------------------------------------


def test_a_dynamic_user_brings_its_namespaces_and_its_own_group() -> None:
    """Pid, mount and ipc namespaces, a read-only tree, one group, no keyrings; the number is for the launch to find."""
    resolution = made(USER, READ)
    plan = resolution.plan
    assert (plan.dynamic, plan.uid, plan.gid, plan.set_groups, plan.groups) == (1, FIRST, FIRST, 1, ())
    assert plan.namespaces & OWN == OWN
    assert plan.view
    assert bpf_sim.verdict(plan.seccomp, number("add_key", "x86_64") or 0) & 0xFFFF0000 == bpf_sim.ERRNO
    record = next(one for one in resolution.enforcement if one.key == "privileges.user")
    assert str(LAST) in record.notes[0]
    assert resolution.account is not None
    assert resolution.account.home == ""


def test_devices_and_places_of_the_view_leave_nothing() -> None:
    plan = made(USER, READ, ("filesystem.write", "/dev/null"), ("filesystem.tmp", "private")).plan
    assert plan.dynamic == 1


@pytest.mark.parametrize(
    ("flags", "kernel", "words"),
    [
        ((), ROOT._replace(capabilities=0), "run sandrun as root"),
        ((), ROOT._replace(pidns=False, namespace_reason="no such thing"), "no such thing"),
        ((("filesystem.write", "/srv/data"),), ROOT, "/srv/data"),
        ((("filesystem.write", "/tmp"),), ROOT, "--tmp private"),
        ((("filesystem.create", "/srv/data/new"),), ROOT, "/srv/data/new"),
        ((("privileges.groups", "100"),), ROOT, "one group"),
        ((("privileges.group", "100"),), ROOT, "one group"),
    ],
)
def test_what_a_dynamic_user_cannot_have(flags: tuple[tuple[str, str], ...], kernel: Kernel, words: str) -> None:
    """Without its namespaces, or where files of it could stay, nothing runs."""
    assert words in problem(USER, READ, *flags, kernel=kernel)


def test_a_directory_that_is_passed_is_a_place_to_stay() -> None:
    found = HOST.lstat("/srv/data")
    assert found is not None
    host = FakeHost(TREE, environ=HOST.environ, fds={7: (found, 0, "/srv/data")})
    assert "descriptor 7" in problem(USER, READ, ("process.pass_fds", "7"), host=host)


# --- labels --------------------------------------------------------------------------------------------------------

LABELLED = ROOT._replace(labels=frozenset({"apparmor", "selinux"}))


def test_labels_go_into_the_plan() -> None:
    """A profile that is loaded, one of a list that cannot be read, a namespace or a stack of several, and a context."""
    for name in ("/usr/bin/man", "named one", "unconfined", ":ns:x", "a//&b"):
        assert made(("privileges.apparmor", name), kernel=LABELLED).plan.apparmor == name.encode()
    assert made(("privileges.apparmor", "absent"), kernel=LABELLED, host=UNREADABLE).plan.apparmor == b"absent"
    resolution = made(("privileges.selinux", "u:r:t:s0"), kernel=LABELLED)
    assert resolution.plan.selinux == b"u:r:t:s0"
    assert ("privileges.selinux", ("selinux",)) in [(one.key, one.mechanisms) for one in resolution.enforcement]


def test_labels_that_cannot_be_had() -> None:
    """A module that is not in force, a profile that is not loaded: 125 with the remedy; the first may be optional."""
    assert "AppArmor is not in force" in problem(("privileges.apparmor", "x"))
    assert "SELinux is not in force" in problem(("privileges.selinux", "x"))
    lost = made(("privileges.apparmor", "x"), optional=("privileges.apparmor",))
    assert lost.plan.apparmor == b""
    assert any(one.key == "privileges.apparmor" and one.lost for one in lost.enforcement)
    assert "apparmor_parser" in problem(("privileges.apparmor", "named"), kernel=LABELLED)
