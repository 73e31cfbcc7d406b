"""Limits of the whole tree: what the plan makes of `[resources]`, where control groups are found, and which are ours."""

from __future__ import annotations

import os
import resource
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from sandrun.kernel import Kernel
from sandrun.plan.draft import ENFORCED, LOST, PARTIAL, Draft
from sandrun.plan.format import CGROUP_AFTER, CGROUP_ALONE, CGROUP_BELOW, CGROUP_MAY_LACK, CGROUP_SCOPE, CGROUP_V1
from sandrun.plan.resources import STAND_INS, resolve_resources
from sandrun.primitives import cgroup, cgroup_files, cgroup_probe, landlock
from sandrun.primitives.cgroup_place import KILLER, Cgroup
from sandrun.primitives.cgroup_probe import hierarchies
from sandrun.primitives.view import READ_ONLY
from sandrun.profile.model import Origin, Profile, Value

if TYPE_CHECKING:
    from pathlib import Path

ALL = ("memory", "pids", "cpu", "io")
NEW = Cgroup(2, CGROUP_BELOW, tuple((name, "/c/me") for name in ALL), ("/c",), ("8:0", "8:16"), "", "")
OLD = Cgroup(
    1,
    CGROUP_V1,
    (("memory", "/c/memory/me"), ("pids", "/c/pids"), ("cpu", "/c/cpu"), ("blkio", "/c/blkio"), (KILLER, "/c/u")),
    ("/c/memory", "/c/pids", "/c/cpu", "/c/blkio", "/c/u"),
    ("8:0",),
    "",
    "",
)
NEWPID = 0x20000000


def draft(optional: tuple[str, ...] = (), **asked: int) -> Draft:
    """A Draft for a command that may write nowhere; `asked` is by the last word of the key."""
    values = {
        f"resources.{name}": (Value(amount, Origin("t.toml", name), optional=f"resources.{name}" in optional),)
        for name, amount in asked.items()
    }
    made = Draft(Profile("test", values=MappingProxyType(values)))
    made.fields["landlock_fs"] = landlock.fs_mask(1)
    return made


def settings(made: Draft) -> list[tuple[str, int, str]]:
    """The limits of the draft: file by its whole path, flags, value."""
    parents = [parent.decode() for parent in made.fields["cgroup_parents"]]
    return [
        (f"{parents[number]}/{file.decode()}", flags, value.decode())
        for number, flags, file, value in made.fields["cgroup_limits"]
    ]


def kernel(found: Cgroup, uid: int = 0) -> Kernel:
    return Kernel(uid=uid, cgroup=found)


def test_version_2() -> None:
    """All limits stand in one group; swap is closed, and memory comes with io, so that put-off writes are counted."""
    made = draft(memory=1 << 20, pids=50, cpu=150, io=4096)
    assert resolve_resources(made, kernel(NEW)) == {}
    assert not made.problems
    assert [(one.key, one.mechanisms, one.state) for one in made.protections] == [
        (key, ("cgroup",), ENFORCED) for key in STAND_INS
    ]
    assert made.fields["cgroup_parents"] == (b"/c/me",)
    assert made.fields["cgroup_controllers"] == (b"memory", b"pids", b"cpu", b"io")
    assert settings(made) == [
        ("/c/me/memory.max", 0, "1048576"),
        ("/c/me/memory.swap.max", CGROUP_MAY_LACK, "0"),
        ("/c/me/memory.oom.group", CGROUP_MAY_LACK, "1"),
        ("/c/me/pids.max", 0, "50"),
        ("/c/me/cpu.max", 0, "150000 100000"),
        ("/c/me/io.max", 0, "8:0 rbps=4096 wbps=4096"),
        ("/c/me/io.max", 0, "8:16 rbps=4096 wbps=4096"),
    ]
    alone = draft(io=4096)
    resolve_resources(alone, kernel(NEW))
    assert alone.fields["cgroup_controllers"] == (b"io", b"memory")


def test_version_1() -> None:
    """A group in each hierarchy that is needed, and always one that stops forks and one that kills."""
    made = draft(memory=1 << 20, cpu=50)
    assert resolve_resources(made, kernel(OLD)) == {}
    assert made.fields["cgroup_way"] == CGROUP_V1
    assert made.fields["cgroup_parents"] == (b"/c/memory/me", b"/c/cpu", b"/c/pids", b"/c/u")
    assert made.fields.get("cgroup_controllers", ()) == ()
    assert settings(made) == [
        ("/c/memory/me/memory.limit_in_bytes", 0, "1048576"),
        ("/c/memory/me/memory.memsw.limit_in_bytes", CGROUP_MAY_LACK, "1048576"),
        ("/c/cpu/cpu.cfs_period_us", 0, "100000"),
        ("/c/cpu/cpu.cfs_quota_us", 0, "50000"),
    ]


def test_io_of_version_1_is_partial() -> None:
    """Version 1 does not see writes that the kernel puts off: a problem, or partial where the key is optional."""
    made = draft(io=4096)
    resolve_resources(made, kernel(OLD))
    assert "version 1" in str(made.problems[0])
    made = draft(optional=("resources.io",), io=4096)
    resolve_resources(made, kernel(OLD))
    assert (made.protections[0].state, made.protections[0].mechanisms) == (PARTIAL, ("cgroup",))
    assert ("/c/blkio/blkio.throttle.write_bps_device", 0, "8:0 4096") in settings(made)


def test_a_pid_namespace_counts_its_init() -> None:
    """--pids 1 still means that the command cannot fork: what is ours is added, and the maker's share taken back."""
    made = draft(pids=1)
    made.fields["namespaces"] = NEWPID
    resolve_resources(made, kernel(NEW))
    assert settings(made) == [("/c/me/pids.max", 0, "3"), ("/c/me/pids.max", CGROUP_AFTER, "2")]


@pytest.mark.parametrize("key", sorted(STAND_INS))
def test_without_groups_it_fails_closed(key: str) -> None:
    """125 with the reason and a remedy; if the key is optional, the weaker rlimit stands in by its name, or nothing."""
    name = key.partition(".")[2]
    missing = Cgroup(2, reason="no control group can be made below /c", hint="ask systemd")
    made = draft(**{name: 7})
    resolve_resources(made, kernel(missing))
    assert "/c" in made.problems[0].message
    assert "ask systemd" in str(made.problems[0].hint)
    assert f"--optional {key}" in str(made.problems[0].hint)
    assert "cgroup_way" not in made.fields
    made = draft(optional=(key,), **{name: 7})
    limits = resolve_resources(made, kernel(missing))
    stand_in, weaker = STAND_INS[key]
    assert limits == ({getattr(resource, stand_in): 7} if stand_in else {})
    assert made.protections[0].state == (PARTIAL if stand_in else LOST)
    assert weaker in made.protections[0].lost[0]


def test_a_missing_controller_is_named() -> None:
    """A user's session often has memory and pids alone."""
    made = draft(memory=1, cpu=50)
    resolve_resources(made, kernel(NEW._replace(places=NEW.places[:2])))
    assert [problem.message.partition(";")[0] for problem in made.problems] == [
        "the controller cpu is not given to the control group of this process"
    ]


def test_what_systemd_does_not_delegate() -> None:
    """By default it delegates no io to its users; the remedy is root's."""
    made = draft(io=1)
    places = tuple((name, "/c") for name in ("memory", "pids", "cpu"))
    resolve_resources(made, kernel(NEW._replace(way=CGROUP_SCOPE, places=places), 1234))
    assert made.problems[0].message.startswith("the controller io is not delegated")
    assert "systemctl edit user@.service" in str(made.problems[0].hint)


@pytest.mark.parametrize("path", ["/", "/c", "/c/me", "/c/other/group"])
def test_no_way_out_by_writing(path: str) -> None:
    """A command that may write to any group could leave its own, or raise its limit; as another user it could not."""
    made = draft(memory=1)
    made.fields["path_rules"] = ((landlock.FS["write_file"], 1, path.encode()),)
    resolve_resources(made, kernel(NEW))
    assert "could leave its control group" in made.problems[0].message
    other = draft(memory=1)
    other.fields.update(path_rules=made.fields["path_rules"], uid=1234)
    resolve_resources(other, kernel(NEW))
    assert not other.problems


def test_a_read_only_mount_closes_the_way_out() -> None:
    """What the view mounts read-only over the groups counts, unless something writable lies in it."""
    made = draft(memory=1)
    made.fields["path_rules"] = ((landlock.FS["write_file"], 1, b"/"),)
    made.fields["view"] = ((0, 0, b"/", b"/"), (1, READ_ONLY, b"/c", b"/c"))
    resolve_resources(made, kernel(NEW))
    assert not made.problems
    whole = made.fields["view"]
    for writable in ((1, 0, b"/c/me", b"/c/me"), (1, 0, b"/mnt", b"/c")):
        made.problems.clear()
        made.fields["view"] = (*whole, writable)
        resolve_resources(made, kernel(NEW))
        assert "--deny-write /c" in str(made.problems[0].hint)


def test_no_way_out_where_files_are_not_restricted() -> None:
    made = draft(memory=1)
    made.fields["landlock_fs"] = 0
    resolve_resources(made, kernel(NEW))
    assert "could leave its control group" in made.problems[0].message


# --- where groups are ------------------------------------------------------------------------------------------------


def mounted(*mounts: tuple[str, str, str, str]) -> str:
    """mountinfo with these (root, point, type, options of the hierarchy)."""
    return "".join(
        f"31 23 0:28 {root} {point} rw shared:1 - {kind} none {more}\n" for root, point, kind, more in mounts
    )


@pytest.mark.parametrize(
    ("groups", "mountinfo", "found"),
    [
        ("0::/a/b\n", mounted(("/", "/c", "cgroup2", "rw")), [(2, "/c", set(), "/c/a/b")]),
        ("0::/\n", mounted(("/", "/c", "cgroup2", "rw,nsdelegate")), [(2, "/c", set(), "/c")]),
        ("0::/docker/x/y\n", mounted(("/docker/x", "/c", "cgroup2", "rw")), [(2, "/c", set(), "/c/y")]),
        ("0::/elsewhere\n", mounted(("/docker/x", "/c", "cgroup2", "rw")), [(2, "/c", set(), "")]),
        (
            "3:cpu,cpuacct:/u\n2:memory:/m\n1:name=systemd:/s\n0::/n\n",
            mounted(
                ("/", "/c/cpu", "cgroup", "rw,cpu,cpuacct"),
                ("/", "/c/memory", "cgroup", "rw,memory"),
                ("/", "/c/systemd", "cgroup", "rw,xattr,name=systemd"),
                ("/", "/c/unified", "cgroup2", "rw"),
            ),
            [
                (1, "/c/cpu", {"cpu"}, "/c/cpu/u"),
                (1, "/c/memory", {"memory"}, "/c/memory/m"),
                (1, "/c/systemd", set(), "/c/systemd/s"),
                (2, "/c/unified", set(), "/c/unified/n"),
            ],
        ),
        ("0::/\n", "27 1 254:0 / / rw - ext4 /dev/vda rw\n", []),
    ],
)
def test_hierarchies(groups: str, mountinfo: str, found: list[Any]) -> None:
    """The own directory in each hierarchy, as cgroups(7) describes the two files."""
    assert [
        (one.version, one.point, set(one.controllers), one.directory) for one in hierarchies(groups, mountinfo)
    ] == found


class Tree:
    """A hierarchy of version 2 made of plain files. The caller is in `own`."""

    def __init__(self, top: Path, own: str, pids: str = "1\n", **limits: str) -> None:
        self.top = top
        folder = top
        for name in ["", *own.split("/")[1:]]:
            folder = folder / name if name else folder
            folder.mkdir(exist_ok=True)
            if name:
                (folder / "cgroup.type").write_text("domain\n")
            for file, text in {"controllers": " ".join(ALL), "subtree_control": "", "procs": pids}.items():
                (folder / f"cgroup.{file}").write_text(text)
        for file, text in limits.items():
            (folder / file.replace("_", ".")).write_text(text)
        self.found = cgroup_probe.Hierarchy(2, str(top), frozenset(), str(folder))


def test_ways_of_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the root as it is; in a group where sandrun is alone, aside; else by systemd; else as root from the top."""
    me = f"{cgroup_probe.os.getpid()}\n"
    monkeypatch.setattr(cgroup_probe, "_systemd", lambda _: "")
    monkeypatch.setattr(cgroup_probe, "_trouble", lambda _: "")  # plain directories are no groups
    monkeypatch.setattr(cgroup_probe.os, "geteuid", lambda: 0)

    def way(tree: Tree) -> tuple[int, str]:
        found = cgroup_probe._version_2(tree.found)
        return found.way, found.place("memory")

    assert way(Tree(tmp_path / "root", "")) == (CGROUP_BELOW, str(tmp_path / "root"))
    assert way(Tree(tmp_path / "alone", "/a/b", me)) == (CGROUP_ALONE, str(tmp_path / "alone/a/b"))
    crowd = Tree(tmp_path / "crowd", "/a", me + "1\n")
    assert way(crowd) == (CGROUP_BELOW, str(crowd.top))
    bound = Tree(tmp_path / "bound", "/a", me + "1\n", memory_max="1000\n", pids_max="max\n")
    assert way(bound)[0] == 0, "a limit of the caller must bind the command too"
    assert f"a way out of {tmp_path}/bound/a/memory.max" in cgroup_probe._version_2(bound.found).reason
    few = Tree(tmp_path / "few", "/system.slice/b", me + "1\n", pids_max="50\n", memory_max="max\n")
    assert way(few)[0] == 0
    monkeypatch.setattr(cgroup_probe.os, "geteuid", lambda: 1234)
    assert way(crowd)[0] == 0, "only root takes the root group"
    monkeypatch.setattr(cgroup_probe, "_systemd", str)
    assert way(crowd) == (CGROUP_SCOPE, str(crowd.top))
    assert way(few) == (CGROUP_SCOPE, str(few.top)), "which gets the caller's pids.max"
    assert way(bound)[0] == 0, "a scope would be a way out as well"
    (crowd.top / "cgroup.controllers").unlink()
    assert way(crowd)[0] == 0, "something else is mounted there, so that the scope could not be seen"
    in_slice = Tree(tmp_path / "slice", "/app.slice", me + "1\n", memory_max="1000\n")
    assert way(in_slice) == (CGROUP_SCOPE, str(in_slice.top)), "the scope is made below that limit"


@pytest.mark.parametrize(
    ("inode", "first", "known"),
    [
        (cgroup_probe.PROC_PID_INIT_INO, "", True),
        (4026532000, "systemd\n", True),
        (4026532000, "sh\n", False),
        (4026532000, "", False),
    ],
)
def test_systemd_knows_us_by_our_number(monkeypatch: pytest.MonkeyPatch, inode: int, first: str, known: bool) -> None:
    """On the host, even if process 1 cannot be seen, and in a container with a systemd of its own."""
    found = os.stat_result((0, inode, 0, 0, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(cgroup_probe.os, "stat", lambda _: found)
    monkeypatch.setattr(cgroup_probe, "_read", lambda _: first)
    assert cgroup_probe._is_known_by_number() is known


def test_the_lowest_number_of_processes(tmp_path: Path) -> None:
    """Of the caller's group and those above it."""
    Tree(tmp_path / "top", "/a/b/c", pids_max="max\n")
    top = bytes(tmp_path / "top")
    assert cgroup_files.lowest_pids_max(top, top + b"/a/b/c") == b""
    (tmp_path / "top/a/b/pids.max").write_text("70\n")
    (tmp_path / "top/a/pids.max").write_text("500\n")
    assert cgroup_files.lowest_pids_max(top, top + b"/a/b/c") == b"70"
    assert cgroup_files.lowest_pids_max(top, top) == b""


def test_names_of_ours() -> None:
    """Only these may be swept away."""
    assert cgroup.is_ours(b"sandrun-12-3456")
    for name in (b"sandrun", b"sandrun-", b"sandrun-1", b"sandrun-1-", b"sandrun-1-2-3", b"sandrun-a-1", b"x-1-2"):
        assert not cgroup.is_ours(name)
