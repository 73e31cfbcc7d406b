"""User and groups: the command is whom the plan says, with no group left over and no way back."""

from __future__ import annotations

import os
from typing import Any

import pytest

from sandrun import libc, native
from sandrun.primitives import ids
from tests.integration.launching import STATUS, launched, proc_status
from tests.support import USER_UID, Who, need_root

SETUID = 1 << 7


def seen(**plan: Any) -> tuple[str, str, str]:
    need_root()
    ran = launched(None, *STATUS, **plan)
    assert ran.status == 0, ran
    status = proc_status(ran.out)
    return status["Uid"], status["Gid"], status["Groups"]


def four(number: int) -> str:
    """Real, effective, saved and file system id, as in /proc/PID/status."""
    return "\t".join([str(number)] * 4)


def test_kept(who: Who) -> None:
    """Without a word of the plan, the ids are the caller's."""
    status = proc_status(launched(who, *STATUS).out)
    assert (status["Uid"], status["Gid"]) == (four(who.uid), four(who.gid))


def test_changed() -> None:
    """All four ids of both kinds change, and the groups are those of the plan."""
    plan = {"uid": USER_UID, "gid": 4321, "set_groups": 1, "groups": (7, 5)}
    assert seen(**plan) == (four(USER_UID), four(4321), "5 7")
    assert seen(**{**plan, "groups": ()}) == (four(USER_UID), four(4321), "")


def test_group_only() -> None:
    """Root may change the group alone and stay root."""
    assert seen(gid=4321, set_groups=1) == (four(0), four(4321), "")


def test_callers_groups_go() -> None:
    """No supplementary group of the caller is left."""
    plan = {"uid": USER_UID, "gid": USER_UID, "set_groups": 1}
    assert seen(before=lambda: os.setgroups([0, 6, 27]), **plan)[2] == ""


@pytest.mark.parametrize("plan", [{"uid": USER_UID}, {"uid": USER_UID, "gid": 5}, {"uid": USER_UID, "set_groups": 1}])
def test_uid_alone(plan: dict[str, int]) -> None:
    """A plan that would leave root's group or groups to another user is refused before anything starts."""
    need_root()
    ran = launched(None, "/bin/true", **plan)
    assert ran.message == "cannot change the user alone: the groups of the caller would stay"


def test_user_cannot(who: Who) -> None:
    """Who may not change ids is told at which step, and nothing ran."""

    def before() -> None:
        libc.capset(libc.capability_sets(0, 0, 0))

    ran = launched(who, "/bin/true", uid=4321, gid=4321, set_groups=1, before=before)
    assert (ran.status, ran.step) == (125, "set groups")
    assert "EPERM" in ran.message


@pytest.mark.parametrize("name", ["set_groups", "set_gid", "set_uid"])
def test_verified(name: str) -> None:
    """A change that did not happen is noticed, although no call failed."""

    def before() -> None:
        os.environ[native.VARIABLE] = "python"
        os.setgroups([6])
        setattr(ids, name, lambda plan: None)

    need_root()
    ran = launched(
        None,
        "/bin/true",
        uid=USER_UID,
        gid=USER_UID,
        set_groups=1,
        before=before,
    )
    assert (ran.status, ran.step, ran.errno) == (125, "verify ids and capabilities", 0)


def test_the_way_back() -> None:
    """A saved uid of root, or whatever else leads back, is noticed by trying it."""

    def before() -> None:
        os.environ[native.VARIABLE] = "python"
        real = os.setresuid
        ids.os = type("os", (), {**vars(os), "setresuid": lambda *uids: real(*(max(uid, -1) for uid in uids))})
        ids.os.setresuid = lambda real_uid, effective, saved: (
            None if effective == 0 else real(real_uid, effective, saved)
        )

    need_root()
    ran = launched(None, "/bin/true", uid=USER_UID, gid=USER_UID, set_groups=1, before=before)
    assert (ran.status, ran.step, ran.errno) == (125, "verify ids and capabilities", 0)


def test_setuid_capability_may_be_kept() -> None:
    """A plan that grants CAP_SETUID grants the way back: that is what it asked for."""
    plan = {"uid": USER_UID, "gid": USER_UID, "set_groups": 1}
    grants = dict.fromkeys(("bounding", "permitted", "inheritable", "ambient"), SETUID)
    assert seen(**plan, **grants)[0] == four(USER_UID)


def test_no_setuid_fixup() -> None:
    """With the securebit that keeps capabilities across setuid, they are still dropped, and root is out of reach."""
    plan = {"uid": USER_UID, "gid": USER_UID, "set_groups": 1}
    assert seen(**plan, before=lambda: libc.prctl(libc.PR_SET_SECUREBITS, 0b1100))[0] == four(USER_UID)
