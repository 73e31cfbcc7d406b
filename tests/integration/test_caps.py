"""Capabilities: the command holds exactly what the plan says, by whichever library it was set, and cannot get more."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sandrun import libc, native
from sandrun.errors import SandrunError
from sandrun.plan.format import Plan
from sandrun.primitives import caps, capset
from tests.integration.launching import STATUS, launched, proc_status
from tests.support import USER_UID, Who, in_child, need, need_program, need_root

NET_BIND, NET_RAW, SETPCAP = 1 << 10, 1 << 13, 1 << 8
USER = {"uid": USER_UID, "gid": USER_UID, "set_groups": 1}
ONE = {"bounding": NET_RAW, "permitted": NET_RAW}
AMBIENT = {"bounding": NET_BIND, "permitted": NET_BIND, "inheritable": NET_BIND, "ambient": NET_BIND}


def held(**plan: Any) -> dict[str, str]:
    """What the command of such a plan, launched by root, sees in /proc/self/status."""
    need_root()
    ran = launched(None, *STATUS, **plan)
    assert ran.status == 0, ran
    return proc_status(ran.out)


def mine() -> dict[str, str]:
    return proc_status(Path("/proc/self/status").read_bytes())


def sets(status: dict[str, str]) -> list[int]:
    """Permitted, effective, inheritable, ambient, bounding."""
    return [int(status["Cap" + name], 16) for name in ("Prm", "Eff", "Inh", "Amb", "Bnd")]


# --- names -----------------------------------------------------------------------------------------------------------


def test_names() -> None:
    """Names and masks are each other's inverse, for capabilities without a name too."""
    assert caps.mask(["CAP_NET_RAW", "CAP_NET_BIND_SERVICE"]) == NET_RAW | NET_BIND
    assert caps.names(NET_RAW | NET_BIND) == ("CAP_NET_BIND_SERVICE", "CAP_NET_RAW")
    assert caps.mask(["CAP_CHECKPOINT_RESTORE", "CAP_41"]) == 1 << 40 | 1 << 41
    assert caps.names(1 << 40 | 1 << 63) == ("CAP_CHECKPOINT_RESTORE", "CAP_63")
    for number in range(64):
        assert caps.mask(caps.names(1 << number)) == 1 << number


@pytest.mark.parametrize(
    "word", ["CAP_NOTHING", "", "CAP_", "CAP_0", "CAP_64", "CAP_-1", "NET_RAW", "cap_net_raw", "21"]
)
def test_unknown_names(word: str) -> None:
    """A name that does not exist is an error; so is a number for one that has a name, or that the masks have no bit for."""
    with pytest.raises(ValueError, match="no such capability"):
        caps.mask([word])


def test_numbers_agree_with_capsh() -> None:
    """Another program's table says the same of every capability that it knows."""
    capsh = need_program("capsh")
    for number, name in enumerate(caps.NAMES):
        done = subprocess.run([capsh, f"--decode={1 << number:x}"], capture_output=True, text=True, check=True)
        assert done.stdout.strip().endswith("=" + name.lower())


def test_bounding_set(who: Who) -> None:
    """The bounding set and the last capability are the kernel's."""
    bounding, last = in_child(caps.bounding_set, who)
    assert bounding == int(mine()["CapBnd"], 16)
    assert last == int(Path("/proc/sys/kernel/cap_last_cap").read_text())


# --- what the command holds ------------------------------------------------------------------------------------------


def test_none_by_default(who: Who) -> None:
    """A plan that names no capability leaves none, to root neither, and no_new_privs is on."""
    status = proc_status(launched(who, *STATUS).out)
    assert sets(status)[:4] == [0, 0, 0, 0]
    assert status["NoNewPrivs"] == "1"
    # The ordinary user cannot drop the bounding set, and with no_new_privs it gives nobody anything.
    assert sets(status)[4] == (0 if who.is_root else int(mine()["CapBnd"], 16))


def test_root_keeps_what_is_named() -> None:
    """Root keeps the named capabilities across execve, and no other is in any set."""
    assert sets(held(**ONE)) == [NET_RAW, NET_RAW, 0, 0, NET_RAW]


def test_user_keeps_the_ambient() -> None:
    """The ambient set is what another user's command has after execve."""
    assert sets(held(**AMBIENT, **USER)) == [NET_BIND] * 5


def test_user_loses_the_rest() -> None:
    """What is permitted and not ambient is gone at the execve of another user's command."""
    assert sets(held(**ONE, **USER)) == [0, 0, 0, 0, NET_RAW]


def test_inherited_ambient_goes() -> None:
    """Ambient and inheritable capabilities that the caller has are not handed on."""

    def before() -> None:
        effective, permitted, _ = libc.capget()
        libc.capset(libc.capability_sets(effective, permitted, NET_BIND))
        libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_RAISE, 10)
        assert int(mine()["CapAmb"], 16) == NET_BIND

    assert sets(held(before=before)) == [0] * 5


def test_user_with_capabilities() -> None:
    """An ordinary user that holds a capability, but not CAP_SETPCAP, may hand on a part of it."""
    need_root()

    def before() -> None:
        libc.prctl(libc.PR_SET_KEEPCAPS, 1)
        os.setresuid(USER_UID, USER_UID, USER_UID)
        both = NET_BIND | NET_RAW
        libc.capset(libc.capability_sets(both, both, both))

    status = held(before=before, **AMBIENT)
    assert sets(status)[:4] == [NET_BIND] * 4


def test_no_new_privs_off(who: Who) -> None:
    """It is off only if the plan says so."""
    fields: dict[str, Any] = {"no_new_privs": 0} if who.is_root else {"no_new_privs": 0, "bounding": 2**64 - 1}
    assert proc_status(launched(who, *STATUS, **fields).out)["NoNewPrivs"] == "0"


def test_bounding_set_cannot_be_dropped(who: Who) -> None:
    """Without CAP_SETPCAP and without no_new_privs a set-uid program would bring it all back: refused."""

    def before() -> None:
        if who.is_root:
            _, permitted, _ = libc.capget()
            libc.capset(libc.capability_sets(permitted & ~SETPCAP, permitted & ~SETPCAP, 0))

    ran = launched(who, "/bin/true", no_new_privs=0, before=before)
    assert (ran.status, ran.message) == (
        125,
        "cannot drop capabilities from the bounding set: Operation not permitted (EPERM)",
    )


def test_not_held(who: Who) -> None:
    """A capability that sandrun does not hold cannot be kept, and is named."""

    def before() -> None:
        libc.capset(libc.capability_sets(0, 0, 0))

    ran = launched(who, "/bin/true", **ONE, before=before)
    assert ran.message == "cannot keep capabilities that sandrun does not hold: CAP_NET_RAW"


def test_ambient_needs_the_others() -> None:
    """A plan whose ambient set is not permitted and inheritable is refused before anything starts."""
    need_root()
    ran = launched(None, "/bin/true", permitted=NET_RAW, ambient=NET_RAW)
    assert (ran.status, "must be permitted and inheritable" in ran.message) == (125, True)


@pytest.mark.parametrize("name", caps.SECUREBITS)
@pytest.mark.parametrize("user", [{}, USER], ids=["root", "user"])
def test_securebits(name: str, user: dict[str, int]) -> None:
    """Each securebit is set with its lock, also the one that forbids to raise what the plan wants raised."""
    need_root()
    bits = caps.SECUREBITS[name]
    ran = launched(None, need_program("capsh"), "--print", securebits=bits, **AMBIENT, **user)
    line = next(line for line in ran.out.decode().splitlines() if line.startswith("Securebits"))
    # KEEP_CAPS itself is cleared by every execve (capabilities(7)), its lock stays.
    assert int(line.split("/")[1], 16) == bits & ~0x10
    assert sets(held(securebits=bits, **AMBIENT, **user))[3] == NET_BIND


def test_securebits_need_a_capability(who: Who) -> None:
    """Without CAP_SETPCAP securebits are refused before anything starts."""

    def before() -> None:
        libc.capset(libc.capability_sets(0, 0, 0))

    ran = launched(who, "/bin/true", securebits=1, before=before)
    assert (ran.status, ran.hint) == (125, "securebits need CAP_SETPCAP")


def test_securebits_in_force_stay() -> None:
    """What the caller has locked already is neither cleared nor in the way."""
    need_root()
    capsh = need_program("capsh")
    noroot, fixup = caps.SECUREBITS["noroot"], caps.SECUREBITS["no_setuid_fixup"]
    ran = launched(
        None,
        capsh,
        "--print",
        securebits=fixup,
        before=lambda: libc.prctl(libc.PR_SET_SECUREBITS, noroot | 0xC0),
    )
    assert f"/{noroot | fixup | 0xC0:#x}/" in ran.out.decode()


# --- either library --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True], ids=["python-prctl", "libc"])
@pytest.mark.parametrize("plan", [{}, ONE, AMBIENT, {"securebits": 3, **AMBIENT}], ids=str)
def test_libraries_agree(missing: bool, plan: dict[str, int]) -> None:
    """With and without python-prctl the same sets come out."""

    def before() -> None:
        os.environ[native.VARIABLE] = "python"
        if missing:
            capset.prctl = None
            capset._KNOWN = frozenset()
            capset._KNOWN_SECUREBITS = 0

    fields = {"bounding": 0, "permitted": 0, "inheritable": 0, "ambient": 0} | plan
    status = held(**plan, before=before)
    assert sets(status) == [
        fields["permitted"],
        fields["permitted"],
        fields["inheritable"],
        fields["ambient"],
        fields["bounding"],
    ]
    assert status["NoNewPrivs"] == "1"


def test_capability_newer_than_the_build() -> None:
    """Where the kernel has one more than python-prctl was built with, that one is dropped as well."""

    def before() -> None:
        os.environ[native.VARIABLE] = "python"
        capset._KNOWN = capset._KNOWN - {40}

    assert sets(held(before=before)) == [0] * 5
    assert sets(held(before=before, **AMBIENT, **USER)) == [NET_BIND] * 5


@pytest.mark.parametrize("what", ["drop_bounding", "set_securebits", "Sets.set", "ambient"])
def test_verified(what: str) -> None:
    """A call that says yes and does nothing is noticed: the command does not run."""

    def before() -> None:
        os.environ[native.VARIABLE] = "python"
        if what == "Sets.set":
            capset.Sets.set = lambda self: None  # type: ignore[method-assign]
        elif what == "ambient":
            real = libc.prctl
            libc.prctl = lambda option, *rest: real(option, *rest) if rest[:1] != (libc.PR_CAP_AMBIENT_RAISE,) else 0
        else:
            setattr(capset, what, lambda argument: None)

    need_root()
    plan = ONE if what == "Sets.set" else {"securebits": 3, **AMBIENT}
    ran = launched(None, "/bin/true", before=before, **plan)
    assert (ran.status, ran.step, ran.errno) == (125, "verify ids and capabilities", 0)


def test_attributes(who: Who) -> None:
    """Each prctl attribute that we set through python-prctl is what the kernel then answers."""
    getters = {
        libc.PR_SET_DUMPABLE: (libc.PR_GET_DUMPABLE, 0),
        libc.PR_SET_KEEPCAPS: (libc.PR_GET_KEEPCAPS, 1),
        libc.PR_SET_NO_NEW_PRIVS: (libc.PR_GET_NO_NEW_PRIVS, 1),
    }

    def attempt(*, missing: bool) -> dict[int, int]:
        if missing:
            capset.prctl = None
        for option, (_, value) in getters.items():
            capset.set_attribute(option, value)
        return {option: libc.prctl(getter) for option, (getter, _) in getters.items()}

    for missing in (False, True):
        assert in_child(lambda missing=missing: attempt(missing=missing), who) == {
            option: value for option, (_, value) in getters.items()
        }


def test_capset_is_refused(who: Who) -> None:
    """The wrapper gives the kernel's errno, whatever an earlier call left behind."""

    def attempt() -> int:
        import ctypes

        libc.capset(libc.capability_sets(0, 0, 0))
        ctypes.set_errno(errno.ENOENT)
        libc.capget()
        try:
            libc.capset(libc.capability_sets(1, 1, 0))
        except OSError as error:
            return error.errno or 0
        return 0

    assert in_child(attempt, who) == errno.EPERM


def test_missing_capability_of_this_root() -> None:
    """Where root itself lacks a capability, as in a container, a plan for the others still works."""
    need_root()
    permitted = libc.capget()[1]

    def before() -> None:
        lacking = permitted & ~(1 << 24)
        libc.capset(libc.capability_sets(lacking, lacking, 0))

    need(permitted & NET_RAW, "CAP_NET_RAW")
    assert sets(held(before=before, **ONE)) == [NET_RAW, NET_RAW, 0, 0, NET_RAW]


def test_prepared_in_the_parent(who: Who) -> None:
    """What the plan cannot have is found out before fork, as an error of ours and not of a step."""

    def attempt() -> str:
        libc.capset(libc.capability_sets(0, 0, 0))
        try:
            capset.Prepared(Plan(permitted=1 << 41))
        except SandrunError as error:
            return error.message
        return ""

    assert in_child(attempt, who).endswith("CAP_41")
