"""What overlayfs itself does to a command, decided and documented, on ext4 and tmpfs; and where no overlay can be."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import struct
import termios
import threading
import time
import tty
from typing import TYPE_CHECKING

import pytest

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.plan.format import Plan
from sandrun.primitives.view import VIEW_OVERLAY
from sandrun.workspace import launch, site, store
from tests.integration.workspaces import Area, contents, mount_overlay
from tests.support import need, need_root, need_userns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Who


@pytest.fixture
def area(who: Who, box: Path) -> Area:
    """A small tree to overlay."""
    if not who.is_root:
        need_userns()
    made = Area(who, box)
    made.shell("mkdir -p src/deep; echo a > a; echo y > src/deep/y")
    return made


def test_a_directory_from_below_is_not_renamed(area: Area) -> None:
    """rename(2) of one answers EXDEV, of a new one it works; mv(1) copies, and the diff is a deletion and an addition."""
    probe = """
import errno, os
try:
    os.rename("src", "moved")
except OSError as error:
    assert error.errno == errno.EXDEV, error
else:
    raise SystemExit("renamed")
os.mkdir("new"); os.rename("new", "newer")
"""
    workspace = area.run(f"python3 -I -c '{probe}'; mv src moved")
    assert area.changes(workspace) == [
        ("added", "moved", ()),
        ("added", "newer", ()),
        ("deleted", "src", ()),
        ("added", "moved/deep", ()),
        ("added", "moved/deep/y", ()),
    ]


def test_a_file_of_somebody_else_cannot_be_copied_up(area: Area) -> None:
    """In a user namespace that maps only the caller such a file can be read, not changed: EOVERFLOW; as root it can."""
    need_root()
    other = area.tree / "other"
    other.write_text("theirs\n")
    other.chmod(0o666)
    os.chown(other, 4321, 4321)
    probe = """
import errno, os, sys
assert open("other").read() == "theirs\\n"
try:
    open("other", "a").write("mine\\n")
except OSError as error:
    sys.exit(error.errno)
"""
    workspace = area.run(f"python3 -I -c '{probe}'; echo $? > result", check=False)
    number = 0 if area.who.is_root else errno.EOVERFLOW
    with open(f"{workspace.path}/upper/0/result", encoding="utf-8") as file:
        assert int(file.read()) == number
    assert area.commit(workspace).refused == ()
    assert os.lstat(other).st_uid == 4321
    assert (other.read_text() == "theirs\nmine\n") == area.who.is_root


def test_what_overlayfs_keeps_for_itself_is_removed(area: Area) -> None:
    """`work/work` has mode 000, and may hold what an end in the midst left there."""
    seen: list[int] = []

    def look() -> None:
        (name,) = store.ids()
        place = f"{site.directory()}/{name}/work/0/work"
        seen.append(stat.S_IMODE(os.lstat(place).st_mode))
        os.chmod(place, 0o700)
        os.mknod(f"{place}/#1", 0o020000, 0)
        os.mkdir(f"{place}/#2")
        os.chmod(f"{place}/#2", 0)
        os.chmod(place, 0)
        assert seen == [0]

    workspace = area.run("echo mine >> a; rm -r src", meanwhile=look)
    assert not os.path.exists(f"{workspace.path}/work")
    area.inside(lambda: store.remove(workspace))
    assert area.inside(store.ids) == []
    assert os.listdir(area.state / "sandrun/workspaces") == []


@pytest.mark.parametrize("where", ["tree", "state", "both"])
def test_on_tmpfs(area: Area, where: str) -> None:
    """The tree, the workspace or both on tmpfs, the other on the filesystem of the tests."""
    need(_user_attributes_on_tmpfs(), "tmpfs without user.* attributes (before Linux 6.6)")

    def work() -> tuple[list[str], dict[str, object]]:
        places = {"tree": [area.tree], "state": [area.state], "both": [area.tree, area.state]}[where]
        uid, gid = os.geteuid(), os.getegid()
        libc.unshare(libc.CLONE_NEWNS | (libc.CLONE_NEWUSER if uid else 0))
        if uid:
            for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
        libc.mount(b"none", b"/", b"", libc.MS_REC | libc.MS_PRIVATE)
        for place in places:
            libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs")
        shutil.rmtree(area.tree / "src", ignore_errors=True)
        os.mkdir(area.tree / "src")
        (area.tree / "src/x").write_text("x\n")
        (area.tree / "a").write_text("a\n")
        workspace, lock = store.make([str(area.tree)], ["test"])
        store.await_clock(workspace)
        pid = os.fork()
        if not pid:
            try:
                # A user namespace below ours, and the mounts are copied into it.
                mount_overlay(workspace)
                os.chdir(area.tree)
                os.execve(
                    "/bin/sh",
                    ["sh", "-euc", "echo more >> a; rm -r src; mkdir src; echo n > src/n"],
                    {"PATH": "/bin:/usr/bin"},
                )
            finally:
                os._exit(99)
        assert os.waitpid(pid, 0)[1] == 0
        os.close(lock)
        workspace = store.ended(workspace, 0)
        before = [change.path for _, change, _, _ in launch.all_changes(workspace)]
        assert launch.commit(workspace).refused == ()
        left = sorted(os.listdir(area.tree / "src"))
        store.remove(workspace)
        return before, {"a": (area.tree / "a").read_text(), "src": left}

    changed, after = area.inside(work)  # type: ignore[misc]
    assert sorted(changed) == ["a", "src/n", "src/x"]
    assert after == {"a": "a\nmore\n", "src": ["n"]}


def _user_attributes_on_tmpfs() -> bool:
    try:
        os.setxattr("/dev/shm", "user.sandrun.test", b"")
        os.removexattr("/dev/shm", "user.sandrun.test")
    except OSError as error:
        return error.errno != errno.ENOTSUP
    return True


# --- where no workspace can be ---------------------------------------------------------------------------------------


def _refused(area: Area, make: Callable[[], object]) -> SandrunError:
    def work() -> tuple[str, str | None]:
        try:
            make()
        except SandrunError as error:
            return error.message, error.hint
        raise AssertionError("nothing was refused")

    message, hint = area.inside(work)  # type: ignore[misc]
    return SandrunError(message, hint=hint)


def test_no_workspace_inside_its_own_tree(area: Area) -> None:
    """Neither the state directory in the tree nor the tree in the state directory, by links either."""
    link = area.tree.parent / "link"
    link.symlink_to(area.state)
    area.shell("mkdir -p sandrun/workspaces/x", cwd=area.state)
    for place in (area.state, area.state.parent, area.state / "sandrun/workspaces/x", "/"):
        for base in (area.state, link):

            def make(place: object = place, base: object = base) -> None:
                os.environ["XDG_STATE_HOME"] = str(base)
                store.make([str(place)], ["test"])

            assert "XDG_STATE_HOME" in (_refused(area, make).hint or "")
    assert os.listdir(area.state / "sandrun/workspaces") == ["x"]


def test_no_workspace_on_an_overlay(area: Area) -> None:
    """Overlayfs cannot be the upper layer of another one: said so, with the remedy."""

    def make() -> None:
        workspace, _ = store.make([str(area.tree)], ["test"])
        mount_overlay(workspace)
        os.environ["XDG_STATE_HOME"] = f"{area.tree}/src"
        store.make([f"{area.tree}/src/deep"], ["test"])

    error = _refused(area, make)
    assert error.message.endswith("overlayfs cannot keep changes on overlay")
    assert "XDG_STATE_HOME" in (error.hint or "")


def test_no_workspace_where_others_can_write(area: Area) -> None:
    """A directory that others can write, or that belongs to somebody else, is not trusted."""
    area.shell("mkdir -p sandrun; chmod 777 sandrun", cwd=area.state)
    assert "not a directory of this user alone" in _refused(area, lambda: store.make([str(area.tree)], ["x"])).message


def test_no_workspaces_of_somebody_else(area: Area) -> None:
    """What another user made, or could exchange, is not listed, read, swept or added to: root may have his XDG_STATE_HOME."""
    need_root()
    workspace = area.run("echo evil > a")
    leftover = f"{os.path.dirname(workspace.path)}/{store.REMOVED}{workspace.id}"
    os.mkdir(leftover)
    verbs = (store.ids, lambda: store.load(workspace.id), store.remove_leftovers, lambda: store.make(["/srv"], ["x"]))
    for place in (area.state, area.state / "sandrun", area.state / "sandrun/workspaces"):
        os.chown(place, 4321, -1)
        for verb in verbs:
            assert _refused(area, verb).message.startswith(f"cannot use workspaces: {place}")
        area.who.own(place)
    os.rmdir(leftover)
    os.chmod(area.state, 0o777)
    assert f"{area.state}: not a directory" in _refused(area, store.ids).message
    os.chmod(area.state, 0o1777)
    assert area.inside(store.ids) == [workspace.id]


def test_a_place_for_workspaces_is_closed_whatever_the_umask(area: Area) -> None:
    """Where groups are of one user each, files are made for the group; workspaces are not."""

    def make() -> list[str]:
        os.umask(0o002)
        os.close(store.make([str(area.tree)], ["x"])[1])
        return store.ids()

    assert len(area.inside(make)) == 1  # type: ignore[arg-type]


def test_no_workspace_without_room(area: Area) -> None:
    """A place that cannot be written is one line and a hint."""
    if area.who.is_root:
        pytest.skip("root writes everywhere")
    area.shell("chmod 500 .", cwd=area.state)
    error = _refused(area, lambda: store.make([str(area.tree)], ["x"]))
    assert "Permission denied (EACCES)" in error.message
    area.shell("chmod 700 .", cwd=area.state)


# --- before and after a launch ---------------------------------------------------------------------------------------


class _Ended:
    """The part of an Outcome that a workspace asks for."""

    def __init__(self, survivors: tuple[int, ...] = ()) -> None:
        self.survivors = survivors


def _finish(
    area: Area,
    on_exit: str,
    *,
    status: int = 0,
    script: Callable[[str], object] | None = None,
    typed: str = "",
    survivors: tuple[int, ...] = (),
    limit: int = 0,
) -> tuple[int, list[str], str]:
    """Its exit status, the workspaces that are left, and what was said."""

    def work() -> tuple[int, list[str], str]:
        plan = Plan(view=((VIEW_OVERLAY, 0, os.fsencode(area.tree), b"0"),))
        controller, writer = os.openpty() if typed else os.pipe()
        if typed:
            os.setsid()
            fcntl.ioctl(writer, termios.TIOCSCTTY, 0)
            os.dup2(writer, 0)
        os.dup2(writer, 2)
        session = launch.prepare(plan, ["test"], limit)
        assert session is not None
        assert session.workspace.directories == (str(area.tree),)
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)  # as the supervisor does
        if script:
            script(os.fsdecode(session.overlays[0][0]))
        said = bytearray()

        def answer() -> None:
            while b"[keep] " not in said:
                said.extend(os.read(controller, 10000))
            os.write(controller, typed.encode())

        user = threading.Thread(target=answer, daemon=True)
        if typed:
            # The command answers in advance, and leaves a terminal on which nobody else could.
            tty.setraw(writer)
            os.write(controller, b"commit\n")
            while waiting(writer) < len(b"commit\n"):
                time.sleep(0.01)  # the kernel hands it over a moment later
            user.start()
        result = session.finish(_Ended(survivors), status, on_exit).status  # type: ignore[arg-type]
        if typed:
            user.join()
        os.set_blocking(controller, False)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(controller, 10000):
                said += data
        return result, store.ids(), said.decode()

    return area.inside(work)  # type: ignore[return-value]


def waiting(terminal: int) -> int:
    """How many bytes can be read from a terminal (FIONREAD, ioctl_tty(2))."""
    return int(struct.unpack("i", fcntl.ioctl(terminal, termios.FIONREAD, bytes(4)))[0])


def _change(upper: str) -> None:
    with open(f"{upper}/new", "w", encoding="utf-8") as file:
        file.write("new\n")


@pytest.mark.parametrize("on_exit", launch.ON_EXIT)
def test_an_empty_workspace_goes_in_silence(area: Area, on_exit: str) -> None:
    """Whatever was asked for."""
    assert _finish(area, on_exit) == (0, [], "")


def test_on_exit(area: Area) -> None:
    """keep says how to go on, discard leaves nothing, commit only after a success; ask never without a terminal."""
    for on_exit, status in (("keep", 0), ("keep", 3), ("commit", 3), ("ask", 0)):
        ended, left, said = _finish(area, on_exit, status=status, script=_change)
        assert ended == status
        assert said == f"sandrun: kept: workspace {left[0]} with 1 change: sandrun workspace diff, commit or discard\n"
        area.inside(lambda: [store.remove(store.load(name)) for name in store.ids()])
    assert _finish(area, "discard", status=3, script=_change) == (3, [], "")
    assert not (area.tree / "new").exists()
    ended, left, said = _finish(area, "commit", script=_change)
    assert (ended, left) == (0, [])
    assert said.startswith("sandrun: committed: 1 change of workspace ")
    assert (area.tree / "new").read_text() == "new\n"


@pytest.mark.parametrize(("typed", "committed", "kept"), [
    ("commit\n", True, False), ("l\nc\n", True, False), ("d\n", False, False), ("\n", False, True),
    ("yes\n", False, True), ("\x04", False, True),
])  # fmt: skip
def test_asked_on_a_terminal(area: Area, typed: str, committed: bool, kept: bool) -> None:
    """What was answered is done, by who was asked and not in advance; anything else is "keep"."""
    ended, left, said = _finish(area, "ask", script=_change, typed=typed)
    assert (ended, bool(left), (area.tree / "new").exists()) == (0, kept, committed)
    assert "holds 1 change: commit, discard, keep or list? [keep]" in said


def test_a_commit_that_was_refused_is_status_123(area: Area) -> None:
    """The command exited with 0, and what it was to do is not all done; or it had failed itself."""

    def conflict(upper: str) -> None:
        _change(upper)
        (area.tree / "new").write_text("theirs\n")

    ended, left, said = _finish(area, "commit", script=conflict)
    assert (ended, len(left)) == (123, 1)
    assert f"not committed: {area.tree}/new: changed since the start\n" in said


def test_more_than_the_size_limit_is_kept(area: Area) -> None:
    """The limit is on what is written, not on how large a sparse file seems."""

    def large(upper: str) -> None:
        with open(f"{upper}/large", "wb") as file:
            file.truncate(1 << 40)
            file.write(bytes(100_000))

    ended, left, said = _finish(area, "commit", script=large, limit=50_000)
    assert (ended, len(left)) == (123, 1)
    assert "its size limit is 50000" in said
    assert not (area.tree / "large").exists()
    assert _finish(area, "commit", script=large, limit=200_000)[0] == 0
    assert os.lstat(area.tree / "large").st_size == 1 << 40
    assert os.lstat(area.tree / "large").st_blocks * 512 < 1 << 20


def test_processes_that_would_not_die_keep_their_workspace(area: Area) -> None:
    """Nothing is read or committed while somebody may write it."""
    ended, left, said = _finish(area, "commit", script=_change, survivors=(4711,))
    assert (ended, len(left)) == (0, 1)
    assert "may still use" in said


def test_a_launch_that_failed_leaves_no_workspace(area: Area) -> None:
    """`abandon` removes all of it."""

    def work() -> list[str]:
        plan = Plan(view=((VIEW_OVERLAY, 0, os.fsencode(area.tree), b"0"),))
        session = launch.prepare(plan, ["test"])
        assert session is not None
        session.abandon()
        return os.listdir(site.directory())

    assert area.inside(work) == []
    assert launch.prepare(Plan(), ["test"]) is None
    assert contents(area.tree)
