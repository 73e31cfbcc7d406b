"""The places of the view: devices, terminals, shared memory, homes, sandrun's own files; and views in other sandboxes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_namespaces import WITHOUT
from tests.integration.test_view import ALL, ALONE, CLOSED
from tests.integration.viewing import EMPTY, OK, see, tried
from tests.support import CHECKOUT, need_landlock, need_namespaces, need_program, need_userns, sandrun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support import Who

MINIMAL = ("-p", "none", "--read", "/usr", "--execute", "@system", "--dev", "minimal", "--isolate", "true")
DEVICES = {"full", "null", "random", "tty", "urandom", "zero"}
LINKS = {"fd", "ptmx", "stderr", "stdin", "stdout"}


@pytest.fixture(autouse=True)
def _there_are_namespaces(who: Who) -> None:
    need_namespaces(who)


# --- every mount -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["default", "build", "net-only", "read-only", "python", "node"])
def test_no_mount_has_more_than_it_needs(who: Who, box: Path, profile: str) -> None:
    """No set-id bit counts on any mount, device files work on those of devices only, and nothing is ever passed on."""
    done = sandrun("-q", "-p", profile, "--", "cat", "/proc/self/mountinfo", who=who, cwd=box)
    assert done.returncode == 0, done.stderr
    mounts = [line.split(" - ")[0].split() for line in done.stdout.splitlines()]
    assert len(mounts) > 5
    for words in mounts:
        point, options, tags = words[4], words[5].split(","), words[6:]
        assert "nosuid" in options, point
        assert tags == [], f"{point} is private"
        if "nodev" not in options:
            assert point.startswith("/dev/"), point
        if "ro" not in options:
            assert point.startswith(("/dev", "/tmp", "/var/tmp", str(box), str(who.home), "/root")), point
    assert "ro" in next(words[5] for words in mounts if words[4] == "/").split(",")


# --- devices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", ["", "landlock"])
def test_minimal_devices(who: Who, box: Path, without: str) -> None:
    """A /dev of its own has the few devices and nothing else; devices of the host work under no other name."""
    box.joinpath("dev").mkdir()
    if who.is_root:
        os.mknod(box / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    shared = Path(f"/dev/shm/srtest-{os.getpid()}")
    shared.touch()
    try:
        seen = see(
            who,
            Path("/usr"),
            *MINIMAL,
            *ALONE,
            *("--read", box, "--write", box / "dev"),
            without=without,
            names="listed('/dev')",
            terminals="listed('/dev/pts')",
            shared="listed('/dev/shm')",
            share="write('/dev/shm/x', os.O_WRONLY | os.O_CREAT)",
            null="write('/dev/null')",
            zero="os.read(os.open('/dev/zero', os.O_RDONLY), 2) == bytes(2)",
            copy=f"os.open('{box}/dev/null', os.O_RDONLY)",
            make=f"os.mknod('{box}/dev/new', {stat.S_IFCHR}, {os.makedev(1, 3)})",
            terminal="os.ttyname(os.openpty()[1])",
            owner="os.fstat(os.openpty()[1]).st_uid",
            execute="os.access('/dev/shm', os.W_OK)",
        )
    finally:
        shared.unlink()
    assert seen.status == 0, seen.said
    found = seen.found
    assert LINKS | {"pts", "shm"} <= set(found["names"]) <= LINKS | DEVICES | {"pts", "shm"}
    assert found["terminals"] == ["ptmx"]
    assert found["shared"] == EMPTY
    assert (found["share"], found["null"], found["zero"]) == (OK, OK, OK)
    assert found["terminal"].startswith("/dev/pts/")
    assert found["copy"] == ("EACCES" if who.is_root else "ENOENT")
    assert found["make"] in ("EPERM", "EACCES")


def test_devices_that_are_granted(who: Who, box: Path) -> None:
    """With a view, a device works where it is granted, and nowhere by a grant of the tree around it."""
    operations = {"full": "os.open('/dev/full', os.O_WRONLY)", "null": "write('/dev/null')"}
    seen = see(who, box, *ALL, *ALONE, "--write", ".", "--write", "/dev/null", without="landlock", **operations)
    assert seen.found == {"full": "EACCES", "null": OK}, seen.said
    seen = see(who, box, *ALL, *ALONE, "--write", ".", "--dev", "host", without="landlock", **operations)
    assert seen.found == {"full": OK, "null": OK}, seen.said


# --- sandrun's own ---------------------------------------------------------------------------------------------------


def test_own_package_in_the_project(who: Who, box: Path) -> None:
    """A project that holds sandrun itself can be written, and what the next launch would execute cannot."""
    package = box / "project/.venv/lib"
    package.mkdir(parents=True)
    for name in ("sandrun", "profiles"):
        shutil.copytree(CHECKOUT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (box, *box.rglob("*")):
        who.own(path)
    boot = f"import sys; sys.path[:0] = ['{package}']; from sandrun.__main__ import main; sys.exit(main())"
    start = [who.sandrun[0], "-I", "-B", "-c", boot]
    operations = {
        "change": f"write('{package}/sandrun/__init__.py', os.O_WRONLY | os.O_APPEND)",
        "add": f"write('{package}/sandrun/re.py', os.O_WRONLY | os.O_CREAT)",
        "move": f"os.rename('{package}', '{box}/project/moved')",
        "move_all": "os.rename('.venv', 'moved')",
        "allowed": "write('new', os.O_WRONLY | os.O_CREAT)",
    }
    done = who.run([*start, "-q", "--", *tried(operations)], cwd=box / "project")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("allowed") == OK
    assert found == {"change": "EROFS", "add": "EROFS", "move": "EXDEV", "move_all": "EBUSY"}


# --- the working directory -------------------------------------------------------------------------------------------


def test_working_directory_in_a_hidden_home(who: Who) -> None:
    """A project in the home is where it was, and nothing else of the home is there."""
    project = who.home / "src/project"
    project.mkdir(parents=True)
    (who.home / ".ssh").mkdir()
    (project / "file").write_text("here\n")
    (who.home / "src/other").mkdir()
    who.own(who.home / "src", project, project / "file", who.home / ".ssh")
    for home in ("hidden", "private"):
        seen = see(
            who,
            project,
            *ALL,
            *ALONE,
            *("--write", ".", "--home", home),
            where="os.getcwd()",
            file="read('file')",
            write="write('new', os.O_WRONLY | os.O_CREAT)",
            home=f"listed('{who.home}')",
            src="listed('..')",
        )
        assert seen.status == 0, seen.said
        assert seen.found["where"] == str(project)
        assert (seen.found["file"], seen.found["write"]) == ("here\n", OK)
        assert seen.found["home"] in (["src"], "EACCES")
        assert seen.found["src"] in (["project"], "EACCES")


def test_working_directory_that_is_not_granted(who: Who) -> None:
    """Below a hidden home it is an empty directory of the same name, not the host's by an old reference."""
    project = who.home / "project"
    project.mkdir()
    (project / "file").write_text("secret")
    who.own(project, project / "file")
    words = ("-p", "none", "--read", "/usr", "--execute", "@system", "--home", "hidden", *ALONE)
    for without in ("", "landlock"):
        seen = see(
            who,
            project,
            *words,
            without=without,
            file="read('file')",
            names="listed('.')",
            around="listed('/proc/self/cwd/')",
        )
        assert seen.status == 0, seen.said
        assert set(map(str, seen.found.values())) <= CLOSED


def test_deleted_working_directory(who: Who, box: Path) -> None:
    """A relative grant has no meaning there, which is said; without one the command starts where it can."""
    words = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh", *who.sandrun, "-q"]
    done = who.run([*words, "--", "true"], cwd=box)
    assert done.returncode == 125
    assert "the working directory was deleted" in done.stderr
    done = who.run([*words, "-p", "offline", "--write", str(box), "--", "sh", "-c", "echo x >new; ls /usr"], cwd=box)
    assert done.returncode == 0, done.stderr
    assert "bin" in done.stdout


# --- in another sandbox ----------------------------------------------------------------------------------------------


def record(who: Who, prefix: Sequence[str | Path], box: Path, *words: str) -> dict[str, Any]:
    """The protections of a dry run after this prefix; then the run itself, which must work."""
    done = who.run([*prefix, *who.sandrun, "-q", "--dry-run", "--json", *words, "--", "true"], cwd=box)
    assert done.returncode == 0, done.stderr
    ran = who.run([*prefix, *who.sandrun, "-q", *words, "--", "sh", "-c", "echo x >new && cat new"], cwd=box)
    assert (ran.returncode, ran.stdout) == (0, "x\n"), ran.stderr
    return {one["key"]: one for one in json.loads(done.stdout)["protections"]}


def test_the_record_with_namespaces(who: Who, box: Path) -> None:
    """What the others are compared with."""
    found = record(who, [], box)
    assert {"mount namespace", "pid namespace", "ipc namespace"} <= set(found["process.isolate"]["mechanisms"])
    assert "mount" in found["filesystem.tmp"]["mechanisms"]
    assert found["filesystem.proc"]["state"] == "enforced"


def test_the_record_without_user_namespaces(who: Who, box: Path) -> None:
    """Where none can be made, the default profile works by Landlock and directories of its own, and the record says so."""
    need_userns()
    need_landlock(6)
    need_program("setpriv")
    prefix = [need_program("unshare"), "--user", "--map-current-user", "--keep-caps", "sh", "-c", WITHOUT, "sh"]
    found = record(who, prefix, box)
    assert found["process.isolate"]["mechanisms"] == ["landlock", "seccomp"]
    assert found["process.isolate"]["state"] == "partial"
    assert "user.max_user_namespaces is 0" in found["process.isolate"]["lost"][0]
    assert found["filesystem.proc"]["state"] == "partial"
    assert "private directory" in found["filesystem.tmp"]["mechanisms"]
    assert not any("mount" in name for one in found.values() for name in one["mechanisms"])


def test_the_record_in_sandrun(who: Who, box: Path) -> None:
    """In the default profile another one works by Landlock, since it refuses namespaces."""
    need_landlock(6)
    grants = [word for path in (sys.prefix, sys.base_prefix, CHECKOUT) for word in ("--read", path, "--execute", path)]
    outer = [*who.sandrun, "-q", *grants, "--"]
    found = record(who, outer, box)
    assert found["process.isolate"]["state"] == "partial"
    assert "an outer seccomp filter" in found["process.isolate"]["lost"][0]
    assert "private directory" in found["filesystem.home"]["mechanisms"]


def test_the_record_in_bwrap(who: Who, box: Path) -> None:
    """bwrap's user namespace can hold another one: nothing is lost."""
    bwrap = need_program("bwrap")
    found = record(who, [bwrap, "--dev-bind", "/", "/", "--unshare-user"], box)
    assert {one["state"] for one in found.values()} == {"enforced"}
    assert "pid namespace" in found["process.isolate"]["mechanisms"]
    assert "mount" in found["filesystem.tmp"]["mechanisms"]


# --- files of another content ----------------------------------------------------------------------------------------


def test_lookups_are_led_to_the_relay_for_good(who: Who, box: Path) -> None:
    """hosts(5) names what is granted, by a mount that no write, rename or removal gets around; the host's stays."""
    before = Path("/etc/hosts").read_bytes()
    code = """
import os
def tried(act, *words):
    try:
        act(*words)
    except OSError:
        return
    print("done", act, words)
for name in ("hosts", "resolv.conf", "nsswitch.conf"):
    path = os.path.realpath("/etc/" + name)
    if not os.path.exists(path):
        continue
    print(open(path).read())
    tried(open, path, "w")
    tried(os.rename, path, path + ".old")
    tried(os.unlink, path)
    tried(os.link, path, "copy")
    tried(os.chmod, path, 0o666)
"""
    granted = ("--write", "/etc", "--optional", "filesystem.write") if who.is_root else ()
    done = sandrun("-q", *granted, "--connect", "example.org:443", "--", sys.executable, "-c", code, who=who, cwd=box)
    assert done.returncode == 0, done.stderr
    assert "127.64.1.1 example.org" in done.stdout
    assert "done" not in done.stdout
    assert Path("/etc/hosts").read_bytes() == before
