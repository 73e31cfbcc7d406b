"""Grants and denials against the real kernel: what `allowed` predicts is what open, mkdir, unlink and execve answer.

Random trees with links of both kinds, random grants and holes; a child enters the ruleset and tries everything.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandrun.errors import SandrunError
from sandrun.host import System
from sandrun.kernel import Kernel
from sandrun.libc import prctl
from sandrun.plan.draft import PARTIAL, Draft
from sandrun.plan.filesystem import allowed, resolve_filesystem
from sandrun.plan.format import Plan
from sandrun.primitives import landlock
from sandrun.profile.model import COMMAND_LINE, Origin, Profile, Value
from sandrun.profile.paths import literal, parse
from tests.support import Who, a_directory, in_child, landlock_abi, need, need_landlock, need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PR_SET_NO_NEW_PRIVS = 38
SYS_EXECVEAT = {"x86_64": 322, "aarch64": 281}
AT_FDCWD, AT_EXECVE_CHECK = -100, 0x10000
LIBC = ctypes.CDLL(None, use_errno=True)
PROBE = "probe"
"""Files in every directory, to be removed by the last attempt."""
DENIALS = ("deny", "deny_write")
OPTIONAL = frozenset({"filesystem.deny", "filesystem.deny_write", "filesystem.home"})


def make_plan(lists: Mapping[str, Iterable[str]], *, optional: frozenset[str] = OPTIONAL) -> tuple[Plan, Draft]:
    """A plan of the file keys alone, for a command that is certainly there."""
    values = {
        f"filesystem.{key}": tuple(Value(parse(literal(path)), Origin(COMMAND_LINE, f"--{key}")) for path in paths)
        for key, paths in lists.items()
    }
    draft = Draft(Profile("test", values=values, optional_flags=optional))
    draft.fields.update(env_set=(), env_pass=())
    host = System()
    kernel = Kernel(landlock_abi=landlock_abi(), landlock_state="available")
    resolve_filesystem(draft, kernel, host, ["/bin/sh"], host.account(host.uid))
    fields = {name: draft.fields[name] for name in ("landlock_fs", "path_rules", "holes") if name in draft.fields}
    return Plan(landlock_abi=min(kernel.landlock_abi, landlock.NEWEST_ABI), **fields), draft


def enter(plan: Plan) -> None:
    """Confine this process by the plan's ruleset. There is no way back."""
    ruleset = landlock.create(plan)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict_self(ruleset, 0)


def can(attempt: Callable[[], object]) -> bool:
    """Whether it works; another refusal than Landlock's is a mistake of the test."""
    try:
        attempt()
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EXDEV):
            raise
        return False
    return True


def opens(path: str, flags: int) -> bool:
    return can(lambda: os.close(os.open(path, flags | os.O_CLOEXEC)))


def executes(path: str) -> bool:
    """execveat(2) with AT_EXECVE_CHECK: everything that execve asks, without executing."""
    empty = (ctypes.c_char_p * 1)(None)
    number = SYS_EXECVEAT[platform.machine()]
    failed = LIBC.syscall(
        number, ctypes.c_int(AT_FDCWD), os.fsencode(path), empty, empty, ctypes.c_int(AT_EXECVE_CHECK)
    )
    assert not failed or ctypes.get_errno() == errno.EACCES, os.strerror(ctypes.get_errno())
    return not failed


def has_execve_check() -> bool:
    version = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    return version >= (6, 14) and platform.machine() in SYS_EXECVEAT


def attempts(path: str, number: int, *, is_directory: bool) -> dict[str, bool]:
    """What may be done there, by the name of the right that it takes. `number` makes new names unlike others."""
    if is_directory:
        return {
            "read_dir": can(lambda: os.listdir(path)),
            "make_reg": can(lambda: os.mknod(f"{path}/reg{number}", stat.S_IFREG | 0o600)),
            "make_dir": can(lambda: os.mkdir(f"{path}/dir{number}")),
            "make_sym": can(lambda: os.symlink("x", f"{path}/sym{number}")),
            "remove_file": can(lambda: os.unlink(f"{path}/{PROBE}{number}")),
        }
    found = {"read_file": opens(path, os.O_RDONLY), "write_file": opens(path, os.O_WRONLY)}
    if landlock_abi() >= landlock.FS_ABI["truncate"]:
        found["truncate"] = can(lambda: os.truncate(path, 0))
    if has_execve_check():
        found["execute"] = executes(path)
    return found


def predicted(access: int, right: str) -> bool:
    """Whether an attempt works; execve opens the file for reading as well."""
    needed = landlock.FS[right] | (landlock.FS["read_file"] if right == "execute" else 0)
    return access & needed == needed


# --- random trees --------------------------------------------------------------------------------------------------


class Tree(NamedTuple):
    """Directories by parent number, then files, links and hard links by directory number; names from their numbers."""

    directories: tuple[int, ...]
    files: tuple[int, ...]
    symlinks: tuple[tuple[int, int], ...]
    hardlinks: tuple[tuple[int, int], ...]


numbers = st.integers(0, 9)
trees = st.builds(
    Tree,
    st.lists(numbers, min_size=2, max_size=6).map(tuple),
    st.lists(numbers, min_size=2, max_size=6).map(tuple),
    st.lists(st.tuples(numbers, numbers), max_size=2).map(tuple),
    st.lists(st.tuples(numbers, numbers), max_size=2).map(tuple),
)
choices = st.lists(st.tuples(st.sampled_from(("read", "write", "execute")), numbers), min_size=1, max_size=4)
denials = st.lists(st.tuples(st.sampled_from(DENIALS), numbers), max_size=3)


def build(tree: Tree, top: Path) -> list[str]:
    """Make it below `top`; the paths of everything, directories first."""
    folders = [str(top)]
    for number, parent in enumerate(tree.directories):
        folders.append(f"{folders[parent % len(folders)]}/d{number}")
        os.mkdir(folders[-1])
    files = [f"{folders[parent % len(folders)]}/f{number}" for number, parent in enumerate(tree.files)]
    for path in files:
        Path(path).write_text("#!/bin/sh\n")
        os.chmod(path, 0o755)
    paths = folders[1:] + files
    links = []
    for number, (parent, target) in enumerate(tree.symlinks):
        links.append(f"{folders[parent % len(folders)]}/s{number}")
        os.symlink(paths[target % len(paths)], links[-1])
    for number, (parent, target) in enumerate(tree.hardlinks):
        links.append(f"{folders[parent % len(folders)]}/h{number}")
        os.link(files[target % len(files)], links[-1])
    for number, path in enumerate(paths + links):
        if os.path.isdir(path):
            Path(path, f"{PROBE}{number}").touch()
    return paths + links


@given(trees, choices, denials)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_allowed_is_what_the_kernel_allows(
    tree: Tree, grants: list[tuple[str, int]], holes: list[tuple[str, int]]
) -> None:
    """For every path and right of a random plan: `allowed` says yes exactly where the kernel does, and a hole has none."""
    need_landlock(1)
    with a_directory() as top:
        paths = build(tree, top)
        lists: dict[str, list[str]] = {}
        for key, number in [*grants, *holes]:
            lists.setdefault(key, []).append(paths[number % len(paths)])
        plan, draft = make_plan(lists)
        if draft.problems:  # a link in a writable grant: refused as planned
            return
        host = System()
        real = {path: os.path.realpath(path) for path in paths}
        kinds = {path: os.path.isdir(path) for path in paths}
        expected = {path: allowed(plan.path_rules, real[path], host) for path in paths}

        def child() -> dict[str, dict[str, bool]]:
            enter(plan)
            return {path: attempts(path, number, is_directory=kinds[path]) for number, path in enumerate(paths)}

        for path, found in in_child(child).items():
            for right, worked in found.items():
                assert worked == predicted(expected[path], right), (path, right, lists, plan)
        check_holes(lists, plan, real.values(), host)
        check_grants(lists, expected, real, draft)


def check_holes(lists: Mapping[str, list[str]], plan: Plan, reals: Iterable[str], host: System) -> None:
    """No path at or below a hole has a denied right, whatever is granted.

    Files with several names are left out: a denied one is refused (here optional), and which names a denied directory
    shares with the world is not looked for, as the manual says.
    """
    for key in DENIALS:
        for hole in map(os.path.realpath, lists.get(key, ())):
            for path in reals:
                if os.path.isfile(path) and os.stat(path).st_nlink > 1:
                    continue
                if path == hole or path.startswith(hole + "/"):
                    left = allowed(plan.path_rules, path, host)
                    denied = landlock.FS["write_file"] | (0 if key == "deny_write" else landlock.READ)
                    denied &= -1 if os.path.isdir(path) else landlock.FILE_RIGHTS
                    assert not left & denied, (path, hole, left)


def check_grants(
    lists: Mapping[str, list[str]], expected: Mapping[str, int], real: Mapping[str, str], draft: Draft
) -> None:
    """What is granted, and neither below a hole nor on the way to one, has its rights; nothing else has any."""
    holes = [os.path.realpath(path) for key in DENIALS for path in lists.get(key, ())]
    wanted = {"read": landlock.READ, "write": landlock.WRITE, "execute": landlock.EXECUTE}
    handled = draft.fields["landlock_fs"]
    for path, access in expected.items():
        if os.path.isfile(real[path]) and os.stat(real[path]).st_nlink > 1:
            continue
        full = 0
        for key, rights in wanted.items():
            for grant in map(os.path.realpath, lists.get(key, ())):
                if real[path] == grant or real[path].startswith(grant + "/"):
                    full |= rights & handled & (landlock.FILE_RIGHTS if os.path.isfile(grant) else -1)
        assert not access & ~full, (path, "more than was granted")
        related = [h for h in holes if (h + "/").startswith(real[path] + "/") or (real[path] + "/").startswith(h + "/")]
        if not related:
            full &= -1 if os.path.isdir(real[path]) else landlock.FILE_RIGHTS
            assert access & full == full, (path, "less than was granted")


# --- cases with a name ---------------------------------------------------------------------------------------------


def confined(plan: Plan, attempt: Callable[[], object], who: Who | None = None) -> object:
    """What `attempt` returns, or the name of the errno it got, inside the plan's ruleset."""

    def child() -> object:
        enter(plan)
        try:
            return attempt()
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    return in_child(child, who)


def test_a_denied_file_is_closed_and_its_siblings_are_open(who: Who, box: Path) -> None:
    """`--read box --deny box/secret`: the secret is refused, files beside it and their names are not."""
    need_landlock(1)
    for name in ("secret", "open", "dir/deep"):
        (box / name).parent.mkdir(exist_ok=True)
        (box / name).write_text("x")
    who.own(box / "secret", box / "open", box / "dir", box / "dir/deep")
    plan, draft = make_plan({"read": [str(box)], "deny": [str(box / "secret")]})
    assert not draft.problems
    assert confined(plan, (box / "secret").read_text, who) == "EACCES"
    assert confined(plan, (box / "open").read_text, who) == "x"
    assert confined(plan, (box / "dir/deep").read_text, who) == "x"
    assert confined(plan, lambda: sorted(os.listdir(box)), who) == ["dir", "open", "secret"]


def test_an_absent_denied_path_stays_closed_when_it_appears(who: Who, box: Path) -> None:
    """A hole is kept for a name that does not exist yet."""
    need_landlock(1)
    (box / "open").write_text("x")
    who.own(box / "open")
    plan, _ = make_plan({"read": [str(box)], "deny": [str(box / "later")]})
    (box / "later").write_text("secret")
    who.own(box / "later")
    assert confined(plan, (box / "later").read_text, who) == "EACCES"
    assert confined(plan, (box / "open").read_text, who) == "x"


def test_a_hole_in_a_writable_tree_cannot_be_moved_or_replaced(who: Who, box: Path) -> None:
    """Where the profile accepts the frozen directories, renaming and unlinking the hole and its parents fail."""
    need_landlock(2)
    (box / "sub").mkdir()
    (box / "other").mkdir()
    (box / "sub/secret").write_text("x")
    who.own(box / "sub", box / "other", box / "sub/secret")
    plan, draft = make_plan({"write": [str(box)], "deny": [str(box / "sub/secret")]})
    assert [p.state for p in draft.protections if p.key == "filesystem.deny"] == [PARTIAL]
    for attempt in (
        lambda: os.rename(box / "sub/secret", box / "other/secret"),
        lambda: os.rename(box / "sub", box / "other/sub"),
        lambda: os.link(box / "sub/secret", box / "other/secret"),
        lambda: os.unlink(box / "sub/secret"),
        (box / "sub/secret").read_text,
    ):
        assert confined(plan, attempt, who) in ("EACCES", "EXDEV")
    assert confined(plan, lambda: (box / "other/new").write_text("x"), who) == 1


def test_a_hole_in_a_writable_tree_is_refused_unless_optional(box: Path) -> None:
    """`--write box --deny box/x/secret` takes a mount namespace: a problem, not a tree that breaks programs."""
    (box / "x").mkdir()
    (box / "x/secret").write_text("x")
    _, draft = make_plan({"write": [str(box)], "deny": [str(box / "x/secret")]}, optional=frozenset())
    assert len(draft.problems) == 1
    assert "takes a mount namespace" in draft.problems[0].message


def test_deny_write_leaves_reading(who: Who, box: Path) -> None:
    """`--write box --deny-write box/hooks`: hooks can be read and listed, not changed."""
    need_landlock(1)
    (box / "hooks").mkdir()
    (box / "hooks/pre").write_text("x")
    who.own(box / "hooks", box / "hooks/pre")
    plan, _ = make_plan({"write": [str(box)], "deny_write": [str(box / "hooks")]})
    assert confined(plan, (box / "hooks/pre").read_text, who) == "x"
    assert confined(plan, lambda: os.listdir(box / "hooks"), who) == ["pre"]
    for attempt in (
        lambda: (box / "hooks/pre").write_text("y"),
        lambda: (box / "hooks/new").write_text("y"),
        lambda: os.unlink(box / "hooks/pre"),
        lambda: os.rename(box / "hooks", box / "gone"),
    ):
        assert confined(plan, attempt, who) in ("EACCES", "EXDEV")


def test_a_hole_with_another_name_is_refused(box: Path) -> None:
    """A denied file with a hard link that nobody denied would stay readable: 125 unless every name is denied."""
    (box / "secret").write_text("x")
    os.link(box / "secret", box / "other")
    lists = {"read": [str(box)], "deny": [str(box / "secret")]}
    _, draft = make_plan(lists, optional=frozenset())
    assert ["2 names" in problem.message for problem in draft.problems] == [True]
    _, draft = make_plan(lists | {"deny": [str(box / "secret"), str(box / "other")]}, optional=frozenset())
    assert not draft.problems


def test_a_bind_mount_of_a_hole_is_a_hole(box: Path) -> None:
    """What a mount shows a second time is denied there too."""
    need_root()
    need_landlock(1)
    for name in ("inner", "shown"):
        (box / name).mkdir()
    (box / "inner/key").write_text("x")
    (box / "plain").write_text("x")

    def child() -> object:
        need(not LIBC.unshare(0x00020000), "mount namespaces are refused here")
        assert not LIBC.mount(b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
        need(not LIBC.mount(bytes(box / "inner"), bytes(box / "shown"), None, 0x1000, None), "mount is refused here")
        plan, draft = make_plan({"read": [str(box)], "deny": [str(box / "inner")]})
        assert not draft.problems
        assert (box / "shown/key").read_text() == "x"
        enter(plan)
        return [can((box / name).read_text) for name in ("inner/key", "shown/key", "plain")]

    assert in_child(child) == [False, False, True]


def test_a_rule_that_became_the_hole_is_refused_at_launch(box: Path) -> None:
    """Between plan and launch the hole takes the place of a granted sibling: no launch."""
    need_landlock(1)
    (box / "secret").write_text("x")
    (box / "sibling").write_text("x")
    plan, _ = make_plan({"read": [str(box)], "deny": [str(box / "secret")]})
    os.rename(box / "secret", box / "sibling")
    os.link(box / "sibling", box / "secret")
    with pytest.raises(SandrunError, match="denied"):
        landlock.create(plan)


def test_a_granted_link_grants_its_target_only(who: Who, box: Path) -> None:
    """`--read link`: the directory it leads to can be read, what is beside it cannot; `..` is no way out."""
    need_landlock(1)
    for name in ("target/file", "beside/file"):
        (box / name).parent.mkdir()
        (box / name).write_text("x")
        who.own((box / name).parent, box / name)
    (box / "link").symlink_to("target")
    plan, _ = make_plan({"read": [str(box / "link")]})
    assert confined(plan, (box / "link/file").read_text, who) == "x"
    assert confined(plan, (box / "link/../beside/file").read_text, who) == "EACCES"
    assert confined(plan, lambda: os.listdir(box), who) == "EACCES"


def test_a_sibling_that_is_gone_by_the_launch_is_no_failure(box: Path) -> None:
    """Files come and go beside a hole (processes in /proc); what the profile names itself must be there."""
    need_landlock(1)
    for name in ("secret", "gone", "exchanged", "stays"):
        (box / name).write_text("x")
    plan, _ = make_plan({"read": [str(box)], "deny": [str(box / "secret")]})
    (box / "gone").unlink()
    (box / "exchanged").unlink()
    (box / "exchanged").symlink_to(box / "secret")
    assert confined(plan, (box / "stays").read_text) == "x"
    assert confined(plan, (box / "exchanged").read_text) == "EACCES"
    plan, _ = make_plan({"read": [str(box / "stays")]})
    (box / "stays").unlink()
    with pytest.raises(SandrunError, match="ENOENT"):
        landlock.create(plan)
