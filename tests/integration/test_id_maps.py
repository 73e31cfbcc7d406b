"""Another user for an ordinary user: inside it is whom the profile names, outside it owns nothing of the caller's."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from sandrun import libc
from sandrun.errors import StepError
from sandrun.plan.format import Plan
from sandrun.primitives import id_maps
from tests import support
from tests.integration.supervised import gone, terminal, wait_until
from tests.support import RangedWho, Who, need_program, need_ranges, reap_orphans, sandrun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOBODY = ("--user", "nobody")
OPEN = ("-p", "none", "--execute", "@all", "--write", "@all")
STATUS = "import json; print(json.dumps(dict(l.split(':', 1) for l in open('/proc/self/status'))))"


@pytest.fixture
def user() -> Any:
    """The ordinary user with ranges, in a directory that others may enter."""
    need_ranges()
    with support.a_who("user") as who:
        who.home.chmod(0o755)
        yield support.ranged(who)


def inside(user: RangedWho, code: str, *options: str, cwd: Path | None = None) -> Any:
    """Run Python code as the command; the value is what it prints, as JSON."""
    words = ("-q", *options, "--", need_program("python3"), "-I", "-S", "-c", code)
    done = sandrun(*words, who=user, cwd=cwd or user.home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "options", [(*OPEN, *NOBODY), ("-p", "none", "-x", "@system", "-r", "/proc", *NOBODY, "--isolate", "false")]
)
def test_ids_and_capabilities(user: RangedWho, options: Sequence[str]) -> None:
    """All ids are the named user's, no group and no capability of the caller is left."""
    found = {name: value.split() for name, value in inside(user, STATUS, *options).items()}
    assert found["Uid"] == found["Gid"] == ["65534"] * 4
    assert found["Groups"] == []
    assert {found[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert found["NoNewPrivs"] == ["1"]


def test_ids_outside(user: RangedWho, root: Who) -> None:
    """What it makes in a directory open to all belongs outside to an id of the ranges."""
    shared = user.home / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    options = (*OPEN, "--user", "5", "--group", "6", "--groups", "7")
    code = "import os, json; open('made', 'w'); print(json.dumps([os.getuid(), os.getgid(), os.getgroups()]))"
    assert inside(user, code, *options, cwd=shared) == [5, 6, [7]]
    found = (shared / "made").stat()
    assert (found.st_uid, found.st_gid) == (100005, 200006)


def test_the_default_profile(user: RangedWho) -> None:
    """The home and the temporary directory of its own can be written, and nothing of them is left."""
    project = user.home / "project"
    project.mkdir()
    project.chmod(0o755)
    (project / "closed").write_text("x")
    (project / "closed").chmod(0o600)
    user.own(project, project / "closed")
    code = (
        "import os, json;"
        f"files = [os.environ[place] + '/{user.tmp.parent.name}-x' for place in ('HOME', 'TMPDIR')];"
        "[open(file, 'w').close() for file in files];"
        "print(json.dumps([[os.stat(file).st_uid for file in files], os.access('closed', os.R_OK), files]))"
    )
    owners, may_read, files = inside(user, code, *NOBODY, cwd=project)
    assert owners == [65534] * 2
    assert not may_read, "the profile grants it, the id does not"
    assert not any(map(os.path.exists, files))
    assert not list(user.tmp.iterdir())


def test_root_inside_is_nobody(user: RangedWho) -> None:
    """Uid 0 of the namespace gets no capability at execve, and cannot become the caller."""
    code = (
        "import os, json\n"
        "try:\n    os.setresuid(1234, 1234, 1234); went = True\n"
        "except PermissionError:\n    went = False\n"
        "caps = [l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')]\n"
        "print(json.dumps([os.getuid(), went, set(caps) == {'0' * 16}]))"
    )
    assert inside(user, code, *OPEN, "--user", "0") == [0, False, True]


def test_groups_alone(user: RangedWho) -> None:
    """The command stays the caller, without the caller's groups."""
    code = "import os, json; print(json.dumps([os.getuid(), os.getgid(), os.getgroups()]))"
    assert inside(user, code, *OPEN, "--group", "5", "--groups", "6") == [user.uid, 5, [6]]


def test_time_limit(user: RangedWho) -> None:
    """The supervisor has power over the command although it is another user's, as the owner of its namespace."""
    done = sandrun(*OPEN, *NOBODY, "--timeout", "0.3s", "--", "sh", "-c", "trap '' TERM; sleep 60 & wait", who=user)
    assert done.returncode == 124, done.stderr


@pytest.mark.parametrize("isolate", ["true", "false"])
def test_supervisor_killed(user: RangedWho, isolate: str) -> None:
    """The kernel lets the end of the supervisor kill a command that is another user's."""
    words = (*user.sandrun, *OPEN, *NOBODY, "--isolate", isolate, "--", "sh", "-c", "echo ran; exec sleep 60")
    with user.popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ran\n"
        command = [pid for pid in support.descendants(process.pid) if owner(pid) == 165534]
        assert command
        process.kill()
        process.wait()
        wait_until(lambda: reap_orphans() or all(map(gone, command)))


def owner(pid: int) -> int:
    """The user of a process, -1 if it is gone."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except FileNotFoundError:
        return -1


def test_pseudoterminal(user: RangedWho, root: Who) -> None:
    """The supervisor keeps the right to start set-user-ID programs where a proxy stands before it."""
    start = ("env", "-C", str(user.home), *support._RANGED, *user.sandrun)
    with terminal(root, *start, *OPEN, *NOBODY, "--tty", "pty", "--", "id", "-u", env=user.env) as shown:
        shown.expect(pexpect.EOF)
    assert shown.exitstatus == 0, shown.before
    assert shown.before.strip().endswith("65534")


def test_no_new_privs_outside(user: RangedWho) -> None:
    """Where the helper gains nothing, status 125, its own words and the remedy; nothing runs and nothing is left."""
    done = user.run(["setpriv", "--no-new-privs", *user.sandrun, *OPEN, *NOBODY, "--", "echo", "ran"])
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("sandrun: cannot map ids: /usr/bin/newuidmap: write to uid_map failed")
    assert "hint: it must be set-user-ID root" in done.stderr


def test_without_ranges(who: Who) -> None:
    """An ordinary user without an account is told what is missing."""
    if who.is_root:
        pytest.skip("root needs no ranges")
    done = sandrun(*OPEN, *NOBODY, "--", "true", who=who)
    assert done.returncode == 125
    assert "ids of the caller's own in a user namespace" in done.stderr
    assert "or run sandrun as root" in done.stderr


# --- the helpers -----------------------------------------------------------------------------------------------------


def answered(tmp_path: Path, script: str) -> str:
    """What `answer` says with this script as newuidmap, "" if it answers the child."""
    helper = tmp_path / "newuidmap"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)
    words = (os.fsencode(helper), b"/bin/true")
    plan = Plan(id_helpers=words, uid_map=b"1 1 1\n5 100 1\n", gid_map=b"1 1 1\n")
    reader, writer = os.pipe()
    try:
        id_maps.answer(plan, 4711, writer)
    except StepError as error:
        os.close(writer)
        assert not os.read(reader, 1)
        return error.message
    else:
        os.close(writer)
        assert os.read(reader, 1)
        return ""
    finally:
        os.close(reader)


def test_how_a_helper_is_called(tmp_path: Path) -> None:
    """With the process and the map as arguments, and nothing of the caller's environment."""
    assert answered(tmp_path, f'echo "$@" > {tmp_path}/said; env > {tmp_path}/env') == ""
    assert (tmp_path / "said").read_text() == "4711 1 1 1 5 100 1\n"
    assert "HOME=" not in (tmp_path / "env").read_text()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo first >&2; echo newuidmap: last >&2; exit 1", "last"),
        ("exit 7", "it ended with 7"),
        ("kill -9 $$", "it ended with -9"),
        ("yes >&2", "y"),
    ],
)
def test_a_helper_that_fails(tmp_path: Path, script: str, why: str) -> None:
    """The last line of it is the reason, and the child is never answered; one that says too much is not read to the end."""
    assert answered(tmp_path, script) == f"cannot map ids: {tmp_path}/newuidmap: {why}"


def test_a_helper_that_is_not_there(tmp_path: Path) -> None:
    plan = Plan(id_helpers=(b"/nonexistent", b"/nonexistent"), uid_map=b"1 1 1\n", gid_map=b"1 1 1\n")
    with pytest.raises(StepError, match=r"/nonexistent: No such file or directory \(ENOENT\)"):
        id_maps.answer(plan, 1, -1)


def test_not_dumpable_but_while_asking() -> None:
    """The copy of the caller's environment can be read by others of its user while the helpers work, and no longer."""

    def ask() -> tuple[int, bytes]:
        asking = id_maps.Asking()
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(asking.reader)
            os.read(reader, 3)
            os.write(asking.writer, b".")
            os._exit(0)
        libc.prctl(libc.PR_SET_DUMPABLE, 0)
        asking.ask(writer, b"ask")
        os.waitpid(pid, 0)
        return libc.prctl(3), b""  # PR_GET_DUMPABLE

    assert support.in_child(ask)[0] == 0


def test_a_parent_that_is_gone() -> None:
    """Without an answer the child fails, and is not dumpable."""

    def ask() -> tuple[str, int]:
        asking = id_maps.Asking()
        _, writer = os.pipe()
        try:
            asking.ask(writer, b"ask")
        except ProcessLookupError as error:
            return str(error), libc.prctl(3)
        return "", 1

    assert support.in_child(ask) == ("[Errno 3] the supervisor is gone", 0)
