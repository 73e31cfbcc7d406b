"""Another user for an ordinary user: which ids outside stand for it, what it brings with it, and what is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun import libc
from sandrun.errors import UnsupportedError
from sandrun.kernel import NAMESPACES, Kernel
from sandrun.plan.format import KEEP
from sandrun.plan.namespaces import wanted
from sandrun.plan.resolve import Resolution, resolve
from sandrun.plan.subids import OWN
from sandrun.profile import load
from tests.fakes import debian_host, file, program

if TYPE_CHECKING:
    from tests.fakes import FakeHost, Node

NOBODY = ("privileges.user", "nobody")
READ = ("filesystem.execute", "@system")
RANGES = {"/etc/subuid": file(b"alice:100000:65536\n"), "/etc/subgid": file(b"# none\nbob:1:9\n1000:200000:65536\n")}
HELPERS = {f"/usr/bin/{name}": program(mode=0o4755) for name in ("newuidmap", "newgidmap")}
USER = Kernel(
    landlock_abi=10,
    landlock_state="available",
    seccomp_actions=frozenset({"allow", "errno"}),
    uid=1000,
    **dict.fromkeys(NAMESPACES, True),  # type: ignore[arg-type]
)
ROOT = USER._replace(uid=0, capabilities=(1 << 41) - 1)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandrun.plan.syscalls.compile_filter", lambda *_: (b"",))


def a_host(uid: int = 1000, **changed: Node) -> FakeHost:
    return debian_host(uid, tree=RANGES | HELPERS | changed)


def planned(*written: tuple[str, str], kernel: Kernel = USER, host: FakeHost | None = None) -> Resolution:
    profile = load(["none"], [(key, text, key) for key, text in (READ, *written)])
    return resolve(profile, kernel, host or a_host(kernel.uid), ["/bin/true"])


def problem(*written: tuple[str, str], kernel: Kernel = USER, host: FakeHost | None = None) -> str:
    """What the only problem says, with its hint."""
    with pytest.raises(UnsupportedError) as raised:
        planned(*written, kernel=kernel, host=host)
    (only,) = raised.value.problems
    return f"{only.message} ({only.hint})"


def lines(text: bytes) -> list[tuple[int, int, int]]:
    return [(int(a), int(b), int(c)) for a, b, c in (line.split() for line in text.splitlines())]


def test_another_user() -> None:
    """The caller's own id is mapped as itself, the user's to one of the ranges; the groups of the caller go."""
    found = planned(NOBODY)
    plan = found.plan
    assert lines(plan.uid_map) == [(1000, 1000, 1), (65534, 165534, 1)]
    assert lines(plan.gid_map) == [(1000, 1000, 1), (65534, 265534, 1)]
    assert (plan.uid, plan.gid, plan.set_groups, plan.groups) == (65534, 65534, 1, ())
    assert plan.id_helpers == (b"/usr/bin/newuidmap", b"/usr/bin/newgidmap")
    assert plan.namespaces & (OWN | libc.CLONE_NEWUSER) == OWN | libc.CLONE_NEWUSER
    (record,) = (one for one in found.enforcement if one.key == "privileges.user")
    assert record.state == "enforced"
    assert record.notes == ("outside it is uid 165534 and gid 265534",)
    assert found.account is not None
    assert found.account.name == "nobody"


def test_root_needs_no_ranges() -> None:
    """Who may change ids does it directly, and the plan names no helper."""
    plan = planned(NOBODY, kernel=ROOT).plan
    assert (plan.uid, plan.id_helpers, plan.uid_map, plan.namespaces) == (65534, (), b"", 0)


def test_other_groups_alone() -> None:
    """The uid stays the caller's own; each group is one of the ranges."""
    plan = planned(("privileges.group", "5"), ("privileges.groups", "6"), ("privileges.groups", "shadow")).plan
    assert lines(plan.uid_map) == [(1000, 1000, 1)]
    assert lines(plan.gid_map) == [(1000, 1000, 1), (5, 200005, 1), (6, 200006, 1), (42, 200042, 1)]
    assert (plan.uid, plan.gid, plan.groups) == (1000, 5, (6, 42))


def test_the_callers_own_group() -> None:
    """It is the caller's outside as well; a group of the ranges is mapped besides, or setgroups(2) would be refused."""
    found = planned(("privileges.user", "5000"), ("privileges.group", "1000"))
    assert lines(found.plan.gid_map) == [(1000, 1000, 1), (1001, 201001, 1)]
    assert found.plan.gid == 1000


def test_own_user_changes_nothing() -> None:
    plan = planned(("privileges.user", "alice")).plan
    assert (plan.uid, plan.id_helpers, plan.namespaces) == (KEEP, (), 0)


@pytest.mark.parametrize(
    ("changed", "kernel", "words"),
    [
        ({"/usr/bin/newuidmap": file(mode=0o644)}, USER, r"not installed.*apt install uidmap"),
        ({"/usr/bin/newgidmap": program(mode=0o4755, uid=1000)}, USER, r"not installed"),
        (
            {"/etc/subuid": file(b"bob:100000:65536\n")},
            USER,
            r"alice has no range in /etc/subuid.*usermod --add-subuids",
        ),
        ({"/etc/subgid": file(b"alice:1\nalice:x:9\nalice:5:0\n")}, USER, r"no range in /etc/subgid.*--add-subgids"),
        ({"/etc/subuid": file(b"alice:0:1\nalice:1000:1\n")}, USER, r"the ranges in /etc/subuid are too small"),
        ({}, USER._replace(userns=False, namespace_reason="for this reason"), r"for this reason.*run sandrun as root"),
    ],
)
def test_what_it_takes(changed: dict[str, Node], kernel: Kernel, words: str) -> None:
    """Without helpers, ranges or namespaces nothing runs, and the remedy is named."""
    assert re.search(words, problem(NOBODY, kernel=kernel, host=a_host(**changed)))


def test_an_account() -> None:
    """The helpers ask for the caller's name."""
    assert "uid 4242 has no account" in problem(NOBODY, kernel=USER._replace(uid=4242))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (("filesystem.create", "/home/alice/project/new"), "make it first"),
        (("filesystem.overlay", "/home/alice/project"), "could not be committed"),
    ],
)
def test_what_the_caller_could_not_do_for_it(written: tuple[str, str], words: str) -> None:
    assert words in problem(NOBODY, written)


def test_capabilities_stay_refused() -> None:
    """They would count inside only."""
    assert "capabilities cannot be kept" in problem(NOBODY, ("privileges.capabilities", "CAP_CHOWN"))


def test_isolation_that_is_refused_makes_no_pid_namespace() -> None:
    kinds = planned(NOBODY, ("process.isolate", "false")).plan.namespaces
    assert kinds & libc.CLONE_NEWNS
    assert not kinds & libc.CLONE_NEWPID


def test_a_launch_looks_for_namespaces() -> None:
    for key in ("user", "group"):
        assert wanted(load(["none"], [(f"privileges.{key}", "5", key)]))


NUMBERS = st.integers(0, 2**32 - 2)


@given(
    ranges=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 2000)), min_size=1, max_size=3),
    gid=NUMBERS,
    groups=st.lists(NUMBERS, max_size=5),
)
def test_maps_are_one_to_one(ranges: list[tuple[int, int]], gid: int, groups: list[int]) -> None:
    """No two ids inside are one outside, all outside are of the ranges, and none of them is root or the caller."""
    text = "".join(f"alice:{first}:{count}\n" for first, count in ranges).encode()
    host = a_host(**{"/etc/subgid": file(text)})
    written = [("privileges.group", str(gid)), *(("privileges.groups", str(group)) for group in groups)]
    needed = {gid, *groups} - {1000}
    if (gid, groups) == (1000, []):
        assert not planned(*written, host=host).plan.id_helpers
        return
    if len({one for first, count in ranges for one in range(first, first + count)} - {0, 1000}) < max(len(needed), 1):
        assert "too small" in problem(*written, host=host)
        return
    plan = planned(*written, host=host).plan
    own, *rows = lines(plan.gid_map)
    assert own == (1000, 1000, 1)
    assert len({inside for inside, _, _ in rows}) == len({outside for _, outside, _ in rows}) == len(rows)
    assert {inside for inside, _, _ in rows} >= needed
    for _, outside, count in rows:
        assert count == 1
        assert outside not in (0, 1000)
        assert any(first <= outside < first + many for first, many in ranges)
