"""Commits that meet trouble: what others changed meanwhile, an end at any point, and upper directories made to harm."""

from __future__ import annotations

import errno
import functools
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.workspace import batch, staged, store
from sandrun.workspace import commit as committing
from sandrun.workspace.commit import commit
from tests.integration.workspaces import Area, contents
from tests.support import ChildDiedError, need_root, need_userns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support import Who

SETUP = """
mkdir -p src/deep docs; printf 'one\\ntwo\\n' > a; echo b > b; echo x > src/x; echo y > src/deep/y; echo d > docs/d
"""


@pytest.fixture
def area(who: Who, box: Path) -> Area:
    """A small tree to overlay."""
    if not who.is_root:
        need_userns()
    made = Area(who, box)
    made.shell(SETUP)
    return made


def write(path: str, text: str) -> None:
    """In a child, where nobody waits for a file to be closed."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# --- what others changed ---------------------------------------------------------------------------------------------

CONFLICTS = {
    "changed": ("echo mine >> a", "echo theirs >> a", "a", "changed since the start"),
    "changed and reset": (
        "echo mine >> a",
        "cp -p a c; echo theirs > a; touch -r c a; rm c",
        "a",
        "changed since the start",
    ),
    "replaced": ("echo mine >> a", "echo theirs > c; mv c a", "a", "changed since the start"),
    "removed": ("echo mine >> a", "rm a", "a", "perhaps removed since the start"),
    "both new": ("echo mine > new", "echo theirs > new", "new", "changed since the start"),
    "removed here, changed there": ("rm a", "echo theirs >> a", "a", "changed since the start"),
    "removed here, more there": ("rm -r src", "echo theirs > src/deep/new", "src", "changed since the start: src/deep"),
    "file for a directory": (
        "rm -r src; echo mine > src",
        "echo theirs >> src/x",
        "src",
        "changed since the start: src/x",
    ),
    "directory removed": ("echo mine > src/new", "rm -r src", "src", "perhaps removed since the start"),
    "modes of a directory": ("chmod 700 src", "chmod 711 src", "src", "changed since the start"),
    "directory to link": ("echo mine > src/new", "mv src s; ln -s docs src", "src", "changed since the start"),
}


@pytest.mark.parametrize(("ours", "theirs", "path", "why"), CONFLICTS.values(), ids=CONFLICTS)
def test_what_changed_underneath_is_refused(area: Area, ours: str, theirs: str, path: str, why: str) -> None:
    """It is left as it is, and stays in the workspace; the rest is committed, and a repetition changes nothing."""
    workspace = area.run(f"{ours}; echo rest >> b")
    area.shell(theirs)
    before = contents(area.tree)
    for _ in range(2):
        result = area.commit(workspace)
        assert [(left.path, left.why) for left in result.refused] == [(path, why)]
        after = contents(area.tree)
        assert after.pop("b")[2][0] == b"b\nrest\n"  # type: ignore[index]
        assert after == {name: value for name, value in before.items() if name != "b"}
    assert area.commit(workspace, force=True).refused == ()
    assert os.listdir(f"{workspace.path}/upper/0") == []


def test_an_unchanged_rest_of_a_directory_is_no_conflict(area: Area) -> None:
    """Somebody works on other files of the same directories, and both come out."""
    workspace = area.run("echo mine >> src/x; echo n > src/mine; rm docs/d")
    area.shell("echo theirs > src/theirs; echo theirs >> b; echo more > docs/more")
    assert area.commit(workspace).refused == ()
    after = contents(area.tree)
    assert {"src/mine", "src/theirs", "docs/more"} <= set(after)
    assert "docs/d" not in after


def test_a_mode_of_somebody_else_stays(area: Area) -> None:
    """Where both changed a directory, what was made in it is committed, and its mode, owner and attributes are not."""
    area.shell("chmod 500 src")
    workspace = area.run("chmod 750 src; echo n > src/n")
    area.shell("chmod 511 src")
    for _ in range(2):
        assert [tuple(left) for left in area.commit(workspace).refused] == [(str(area.tree), "src", staged.CHANGED)]
        assert os.lstat(area.tree / "src").st_mode & 0o777 == 0o511
        assert (area.tree / "src/n").read_text() == "n\n"
    assert area.commit(workspace, force=True) == (1, (), ())
    assert os.lstat(area.tree / "src").st_mode & 0o777 == 0o750


def test_a_directory_made_anew_is_refused_by_file(area: Area) -> None:
    """What it hides is deleted name by name; the one that somebody changed stays, also the second time."""
    workspace = area.run("rm -r src; mkdir src; echo n > src/n")
    area.shell("echo theirs >> src/x")
    for _ in range(2):
        assert [left.path for left in area.commit(workspace).refused] == ["src/x"]
        assert sorted(os.listdir(area.tree / "src")) == ["n", "x"]


def test_the_same_change_is_no_conflict(area: Area) -> None:
    """Where both made the same change there is nothing to do."""
    script = "echo new > new; touch -d '2021-01-01' new; rm -r docs; chmod 700 src"
    workspace = area.run(script)
    area.shell(script)
    assert area.commit(workspace) == (0, (), ())


def test_changes_right_at_the_start_are_told_apart(area: Area) -> None:
    """What was written just before the start is no conflict, what was written just after it is one."""
    for _ in range(20):
        area.shell("echo fresh > a")
        workspace = area.run("echo mine >> a")
        assert area.commit(workspace).refused == ()
        workspace = area.forge(lambda upper: [write(f"{area.tree}/a", "!"), write(f"{upper}/a", "?")])
        assert [left.path for left in area.commit(workspace).refused] == ["a"]


def test_names_of_one_file_are_split(area: Area) -> None:
    """Of two names of one file the one that was changed becomes a file of its own, and both can be removed."""
    area.shell("ln a hard; ln b other")
    workspace = area.run("echo mine >> hard; rm b other")
    assert area.commit(workspace).refused == ()
    assert (area.tree / "a").read_text() == "one\ntwo\n"
    assert (area.tree / "hard").read_text() == "one\ntwo\nmine\n"
    assert not (area.tree / "b").exists()
    assert not (area.tree / "other").exists()


# --- an end at any point ---------------------------------------------------------------------------------------------

RESET = "chmod -R u+rwX tree && rm -rf tree && cp -a state/origin tree"
BIG = """
echo mine >> a; rm b; rm -r src; mkdir -p src/deep; echo other > src/x; echo n > src/deep/n; rm docs/d; mkdir docs/d
echo in > docs/d/in; mkdir -p new/er; echo z > new/er/z; chmod 500 new/er; chmod 000 new; ln -s gone link; ln a2 a3 2>/dev/null || :
echo p > c2; ln c2 c3; chmod 4755 c2; chmod 750 docs
"""


def _kill_at(number: int) -> None:
    """End this process without a trace right before its `number`-th system call that changes a file."""
    left = [number]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    for module, names in (
        (os, "rename unlink mkdir rmdir symlink chmod fchmod utime mknod setxattr removexattr pwrite ftruncate fsync"),
        (libc, "renameat2 syncfs"),
    ):
        for name in names.split():
            setattr(module, name, counted(getattr(module, name)))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_commit_survives_an_end_at_any_point(area: Area) -> None:
    """Killed before each of its steps, and again while it is repeated, it ends as if it had not been interrupted."""
    area.shell("mkdir old; echo 1 > old/1; ln old/1 old/2; echo w > w; ln w w2")
    script = BIG + "rm -r old; rm w w2"
    area.who.run(["cp", "-a", area.tree, area.state / "origin"], check=True)
    expected: object = None
    steps = 0
    for at in (None, *range(400)):
        area.who.run(["sh", "-c", RESET], cwd=area.tree.parent, check=True)
        time.sleep(0.002)
        workspace = area.run(script)
        killed = (
            at is not None and _interrupted(area, workspace, at) and (at % 3 or _interrupted(area, workspace, at // 2))
        )
        result = area.commit(workspace)
        assert result.refused == (), f"killed before step {at}"
        found = {
            name: (mode, owner, data[0] if isinstance(data, tuple) else data)
            for name, (mode, owner, data) in contents(area.tree).items()
        }
        expected = expected or found
        assert found == expected, f"killed before step {at}"
        assert os.listdir(f"{workspace.path}/upper/0") == []
        area.inside(functools.partial(store.remove, workspace))
        steps += bool(at is not None)
        if at is not None and not killed:
            break
    assert 40 < steps < 400


def _interrupted(area: Area, workspace: store.Workspace, at: int) -> bool:
    def work() -> None:
        _kill_at(at)
        commit(workspace)

    try:
        area.inside(work)
    except ChildDiedError:
        return True
    return False


def test_every_state_of_an_interrupted_commit_is_whole(area: Area) -> None:
    """At no point is there half a file: each has the content from before or the one from after."""
    area.shell("seq 1 5000 > a; seq 1 5000 > b")
    workspace = area.run("seq 5000 -1 1 > a; seq 5000 -1 1 > b; seq 1 100 > n")
    up = "".join(f"{n}\n" for n in range(1, 5001))
    down = "".join(f"{n}\n" for n in range(5000, 0, -1))
    for _ in range(60):
        ended = not _interrupted(area, workspace, 4)
        assert (area.tree / "a").read_text() in (up, down)
        assert (area.tree / "b").read_text() in (up, down)
        if ended:
            break
        _interrupted(area, workspace, 11)
    assert area.commit(workspace).refused == ()
    assert (area.tree / "a").read_text() == down


def test_no_space_leaves_nothing_half(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk refuses the files that do not fit, without a trace of them."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    workspace = area.run("echo mine >> a; rm b")
    monkeypatch.setattr(os, "pwrite", full)
    result = area.commit(workspace)
    monkeypatch.undo()
    assert [(left.path, left.why) for left in result.refused] == [("a", "No space left on device (ENOSPC)")]
    assert sorted(os.listdir(area.tree)) == ["a", "docs", "src"]
    assert area.commit(workspace).committed == 1


# --- upper directories made to harm ----------------------------------------------------------------------------------


@pytest.fixture
def secret(area: Area) -> Iterator[Path]:
    """A directory outside of the tree that no commit may touch."""
    folder = area.tree.parent / "outside"
    folder.mkdir()
    (folder / "file").write_text("secret")
    area.who.own(folder, folder / "file")
    before = contents(folder)
    yield folder
    assert contents(folder) == before, "a commit reached something outside"


def test_a_link_below_leads_nowhere(area: Area, secret: Path) -> None:
    """Where the tree itself has a link to a directory, a directory above replaces it, and nothing goes through it."""
    area.shell(f"ln -s {secret} out; ln -s {secret}/file leaf")

    def make(upper: str) -> None:
        os.mkdir(f"{upper}/out")
        for name in ("file", "new"):
            write(f"{upper}/out/{name}", "evil")
        os.mknod(f"{upper}/out/gone", 0o020000, 0)
        write(f"{upper}/leaf", "evil")

    workspace = area.forge(make)
    assert area.commit(workspace).refused == ()
    assert not (area.tree / "out").is_symlink()
    assert (area.tree / "leaf").read_text() == "evil"


def test_another_directory_is_not_committed_to(area: Area, secret: Path) -> None:
    """Not if the overlaid directory was exchanged, and not through a link that stands above it by now."""
    workspace = area.run("echo evil > file")
    top = area.tree.parent
    os.rename(area.tree, top / "moved")
    for make in (lambda: os.symlink(secret, area.tree), lambda: os.mkdir(area.tree)):
        make()
        with pytest.raises(SandrunError):
            area.commit(workspace)
        (os.unlink if area.tree.is_symlink() else os.rmdir)(area.tree)
    os.rename(top / "moved", area.tree)
    assert area.commit(workspace).committed == 1


def test_a_link_made_meanwhile_leads_nowhere(area: Area, secret: Path) -> None:
    """A directory that somebody replaced by a link is refused, forced or not where it would be followed."""
    workspace = area.run("echo evil > src/file; echo evil > src/deep/new")
    area.shell(f"rm -r src; ln -s {secret} src")
    assert [left.path for left in area.commit(workspace).refused] == ["src"]
    assert (area.tree / "src").is_symlink()


def test_a_directory_exchanged_during_the_commit_leads_nowhere(
    area: Area, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same between the look at a directory and the work in it."""
    workspace = area.run("echo evil > src/deep/file")
    entry = committing._Commit._directory

    def exchanged(self: committing._Commit, place: object, name: str, *rest: object) -> object:
        found = entry(self, place, name, *rest)  # type: ignore[arg-type]
        if name == "deep":
            os.rename(f"{area.tree}/src", f"{area.tree}/moved")
            os.symlink(secret, f"{area.tree}/src")
            os.symlink(".", f"{area.tree}/moved/link")
        return found

    monkeypatch.setattr(committing._Commit, "_directory", exchanged)
    result = area.commit(workspace)
    monkeypatch.undo()
    assert {left.path for left in result.refused} >= {"src/deep"}


def _before(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, act: Callable[[], object]) -> None:
    """Somebody acts once, right before a function is called."""
    function = getattr(owner, name)
    left = [act]

    def call(*arguments: object, **named: object) -> object:
        if left:
            left.pop()()
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, staticmethod(call) if name == "_clear" else call)


def test_a_directory_exchanged_before_its_end_keeps_its_mode(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command gave one directory is not given to another one that took its path, of root's perhaps."""
    area.shell("chmod 700 docs")
    workspace = area.run('chmod 777 src; python3 -I -c \'import os; os.setxattr("src", "user.x", b"")\'')
    _before(monkeypatch, batch.Batch, "flush", lambda: _exchange(area))
    result = area.commit(workspace)
    monkeypatch.undo()
    assert [(left.path, left.why) for left in result.refused] == [("src", "exchanged during the commit")]
    assert os.lstat(area.tree / "src").st_mode & 0o777 == 0o700
    assert os.listxattr(area.tree / "src") == []
    assert ("changed", "src", ("mode", "attributes")) in area.changes(workspace)


def _exchange(area: Area) -> None:
    os.rename(area.tree / "src", area.tree / "moved")
    os.rename(area.tree / "docs", area.tree / "src")


def test_a_directory_exchanged_before_the_work_in_it_gets_nothing(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the one that was moved away: what was meant for it stays in the workspace."""
    workspace = area.run("echo evil > src/file; rm src/x")
    entry = committing._Commit._directory

    def exchanged(self: committing._Commit, place: object, name: str, *rest: object) -> object:
        found = entry(self, place, name, *rest)  # type: ignore[arg-type]
        _exchange(area)
        return found

    monkeypatch.setattr(committing._Commit, "_directory", exchanged)
    result = area.commit(workspace)
    monkeypatch.undo()
    assert [(left.path, left.why) for left in result.refused] == [("src", "exchanged during the commit")]
    assert os.listdir(area.tree / "src") == ["d"]
    assert sorted(os.listdir(area.tree / "moved")) == ["deep", "x"]


def test_a_directory_exchanged_before_its_removal_stays(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes the place of what is removed gets back its name, with all that it holds."""
    for script in ("rm -r src", "rm -r src; echo file > src"):
        workspace = area.run(script)
        before = contents(area.tree)

        def act() -> None:
            (name,) = (name for name in os.listdir(area.tree) if name.startswith(".sandrun-"))
            os.rename(area.tree / name, area.tree / "moved")
            os.rename(area.tree / "docs", area.tree / name)

        _before(monkeypatch, batch.Batch, "_clear", act)
        result = area.commit(workspace)
        monkeypatch.undo()
        assert [(left.path, left.why) for left in result.refused] == [("src", "exchanged during the commit")]
        (place,) = (path for path in area.tree.iterdir() if (path / "d").exists())
        assert (place / "d").read_text() == "d\n"
        area.inside(functools.partial(store.remove, workspace))
        area.shell(f"mv {place} docs; rm -rf src .sandrun-*; mv moved src")
        assert contents(area.tree) == before


def test_a_new_directory_is_ours(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one that took its place while it was made is not given to anybody, and stays."""
    workspace = area.run("mkdir new; chmod 777 new")
    make = os.mkdir

    def exchanged(name: str, mode: int, *, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        if name.startswith(".sandrun-"):
            os.rename("docs", name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", exchanged)
    result = area.commit(workspace)
    monkeypatch.undo()
    assert [(left.path, left.why) for left in result.refused] == [("new", "exchanged during the commit")]
    (place,) = area.tree.glob(".sandrun-*")
    assert (os.lstat(place).st_mode & 0o777, os.listdir(place)) == (0o755, ["d"])


def test_only_what_the_commit_left_is_swept(area: Area) -> None:
    """Whoever owns the tree can give a directory of somebody else's the name of a leftover: it stays."""
    workspace = area.run("echo mine >> a")
    planted = area.tree / f".sandrun-{workspace.id}-1-1"
    area.shell(f"mv docs {planted}")
    assert area.commit(workspace).refused == ()
    assert os.listdir(planted) == ["d"]


def test_a_closed_directory_of_such_a_name_stays_closed(area: Area) -> None:
    """It is not ours, so not even its mode changes, by which it would look like ours."""
    workspace = area.run("echo mine >> a")
    planted = area.tree / f".sandrun-{workspace.id}-1-1"
    area.shell(f"mv docs {planted}; echo n > {planted}/new; chmod 555 {planted}")
    assert area.commit(workspace).refused == ()
    assert (os.stat(planted).st_mode & 0o777, sorted(os.listdir(planted))) == (0o555, ["d", "new"])


def test_a_closed_file_below(area: Area) -> None:
    """The command opened a file that its owner had closed: what it made of it replaces it."""
    area.shell("chmod 000 a")
    workspace = area.run("chmod 600 a")
    assert area.changes(workspace)[0][:2] == ("changed", "a")
    assert area.commit(workspace).refused == ()
    assert os.lstat(area.tree / "a").st_mode & 0o777 == 0o600
    assert (area.tree / "a").read_text() == "one\ntwo\n"


def test_special_files_are_left_out(area: Area) -> None:
    """A fifo does not hang, a socket is not opened; both are told, and go."""

    def make(upper: str) -> None:
        os.mkfifo(f"{upper}/a")
        os.mkfifo(f"{upper}/fifo")
        server = socket.socket(socket.AF_UNIX)
        os.chdir(upper)
        server.bind("socket")
        if not os.geteuid():
            os.mknod(f"{upper}/null", 0o020666, os.makedev(1, 3))

    workspace = area.forge(make)
    assert ("added", "fifo", ()) in area.changes(workspace)
    result = area.commit(workspace)
    assert result.refused == ()
    assert {left.path for left in result.left_out} >= {"a", "fifo", "socket"}
    assert (area.tree / "a").read_text() == "one\ntwo\n"
    assert not (area.tree / "fifo").exists()
    assert os.listdir(f"{workspace.path}/upper/0") == []


def test_privileges_are_stripped(area: Area) -> None:
    """Set-id bits and file capabilities do not come along; other attributes do."""

    def make(upper: str) -> None:
        for name in ("new", "a"):
            write(f"{upper}/{name}", "#!")
            os.setxattr(f"{upper}/{name}", "user.kept", b"yes")
            os.setxattr(f"{upper}/{name}", "user.overlay.origin", b"")
            os.chmod(f"{upper}/{name}", 0o6555)
            if not os.geteuid():
                os.setxattr(
                    f"{upper}/{name}", "security.capability", bytes.fromhex("0000000200200000000000000000000000000000")
                )
        os.mkdir(f"{upper}/dir")
        os.chmod(f"{upper}/dir", 0o7777)

    workspace = area.forge(make)
    assert area.commit(workspace).refused == ()
    for name in ("new", "a"):
        assert os.lstat(area.tree / name).st_mode & 0o7777 == 0o555
        assert [x for x in os.listxattr(area.tree / name) if x != "security.selinux"] == ["user.kept"]
    assert os.lstat(area.tree / "dir").st_mode & 0o7777 == 0o1777


def test_depth_beyond_any_path(area: Area) -> None:
    """A tree deeper than PATH_MAX is refused where it cannot be reached, and can be removed."""

    def make(upper: str) -> None:
        os.chdir(upper)
        for _ in range(60):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)

    workspace = area.forge(make)
    assert "unreadable" in {kind for kind, _, _ in area.changes(workspace)}
    assert {left.why for left in area.commit(workspace).refused} == {"File name too long (ENAMETOOLONG)"}
    area.inside(lambda: store.remove(workspace))
    assert not os.path.exists(workspace.path)


def test_a_mount_point_is_not_crossed(area: Area, secret: Path) -> None:
    """What is mounted in the tree is neither written nor removed, a bind mount of the same filesystem either."""
    need_root()
    area.shell("mkdir point gone gone/point")
    workspace = area.run("echo evil > point/file; rm -r gone")

    def work() -> object:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount(b"none", b"/", b"", libc.MS_REC | libc.MS_PRIVATE)
        for target in ("point", "gone/point"):
            libc.mount(os.fsencode(secret), os.fsencode(area.tree / target), b"", 4096)
        return commit(workspace)

    if area.who.is_root:
        result = area.inside(work)
        assert {left.path for left in result.refused} >= {"point", "gone"}  # type: ignore[attr-defined]


def test_own_doing_on_another_filesystem(area: Area) -> None:
    """What we change in one filesystem is no excuse for what somebody else changed in another: inodes are the same."""
    need_root()
    area.shell("mkdir one two")
    one, two = area.tree / "one", area.tree / "two"

    def work() -> object:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount(b"none", b"/", b"", libc.MS_REC | libc.MS_PRIVATE)
        for target in (one, two):
            libc.mount(b"none", os.fsencode(target), b"tmpfs", 0)
        (one / "d").mkdir()
        (two / "f").write_text("before")
        assert (one / "d").stat().st_ino == (two / "f").stat().st_ino
        workspace, lock = store.make([str(one), str(two)], ["forged"])
        store.await_clock(workspace)
        os.mkdir(f"{workspace.path}/upper/0/d")
        write(f"{workspace.path}/upper/0/d/x", "mine")
        write(f"{workspace.path}/upper/1/f", "mine")
        (two / "f").write_text("theirs")
        os.close(lock)
        result = commit(store.ended(workspace, 0))
        return result.refused, (one / "d/x").read_text(), (two / "f").read_text(), os.listdir(workspace.path)

    if area.who.is_root:
        refused, new, kept, left = area.inside(work)  # type: ignore[misc]
        assert [(each.path, each.why) for each in refused] == [("f", "changed since the start")]
        assert (new, kept) == ("mine", "theirs")
        assert not [name for name in left if name.startswith("journal")]


def test_names_like_our_own_are_not_taken_for_them(area: Area) -> None:
    """Only temporary names with the id of this very workspace are swept up."""
    area.shell("echo k > .sandrun-20200101-000000-abcdef-1-1")
    workspace = area.run("echo n > .sandrun-other; echo mine >> a")
    assert area.commit(workspace).refused == ()
    assert (area.tree / ".sandrun-20200101-000000-abcdef-1-1").exists()
    assert (area.tree / ".sandrun-other").exists()


def test_a_trouble_with_one_directory_is_its_own(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be prepared in one directory is refused there, and the rest is committed."""
    workspace = area.run("rm -r src; mkdir src; echo n > src/n; echo mine >> a")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mknod", full)
    result = area.commit(workspace)
    monkeypatch.undo()
    assert [(left.path, left.why) for left in result.refused] == [("src", "No space left on device (ENOSPC)")]
    assert (area.tree / "a").read_text() == "one\ntwo\nmine\n"
    assert area.commit(workspace).refused == ()
    assert os.listdir(area.tree / "src") == ["n"]
