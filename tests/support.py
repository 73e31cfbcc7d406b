"""What every test shares: who it runs as, how it starts the real program, and what it may skip for.

A test session that is root runs each test that takes `who` twice: as root, and as uid 1234 with nothing. A session of
an ordinary user runs it once, as that user. `sandrun()` starts the program as its users do, in a process of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import functools
import importlib.metadata
import os
import pickle
import random
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parent.parent
ROOT_UID = 0
PATIENCE = int(os.environ.get("SANDRUN_PATIENCE", "1"))
"""Deadlines are so many times as long: an emulated machine is slow."""
USER_UID = 1234
"""An ordinary user without an account; also its group."""
CAN_BE_ROOT = os.geteuid() == ROOT_UID
WHOS = ("root", "user") if CAN_BE_ROOT else ("user",)
"""The values of the fixture `who`."""
UNFINISHED = shutil.ignore_patterns("*.pyc.*", ".sandrun-exec.*")
"""What copies of the checkout leave out: names that files have until they are whole. Other tests run at the same time."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_LANDLOCK_CREATE_RULESET = 444  # the same number on every architecture
_CLONE_NEWUSER = 0x10000000
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


# --- what a test needs ---------------------------------------------------------------------------------------------


def need(condition: object, reason: str) -> None:
    """Skip the test unless `condition` holds; with SANDRUN_MUST_WORK=1 (CI) fail instead, so that no test is lost."""
    if condition:
        return
    if os.environ.get("SANDRUN_MUST_WORK") == "1":
        pytest.fail(f"needed here (SANDRUN_MUST_WORK=1): {reason}")
    pytest.skip(reason)


def need_program(name: str) -> str:
    """The path of a program on the tests' PATH."""
    path = shutil.which(name, path=PATH)
    need(path, f"the program {name} is not installed")
    return path or ""


def need_root() -> None:
    """A session of an ordinary user cannot do this; that is never a failure."""
    if not CAN_BE_ROOT:
        pytest.skip("only root can do this")


def need_landlock(abi: int) -> None:
    """This kernel's Landlock has at least this ABI version."""
    need(landlock_abi() >= abi, f"Landlock ABI {abi} is needed, this kernel has {landlock_abi()}")


def need_userns() -> None:
    """The ordinary user may make user namespaces."""
    need(_userns(), "this kernel refuses user namespaces to ordinary users")


def need_namespaces(who: Who) -> None:
    """This user can make namespaces and mount in them, in a user namespace or as root."""
    need(_namespaces(who.uid), f"{who.name} cannot make namespaces here")


def need_linux(major: int, minor: int) -> None:
    """The kernel is at least this Linux."""
    release = tuple(int(word) for word in os.uname().release.split("-")[0].split(".")[:2])
    need(release >= (major, minor), f"Linux {major}.{minor} is needed")


@functools.cache
def landlock_abi() -> int:
    """The kernel's Landlock ABI version (landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION), 0 for none."""
    version = _LIBC.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    return max(0, int(version))


@functools.cache
def _namespaces(uid: int) -> bool:
    words = ["unshare", *(["--user", "--map-current-user"] if uid else []), "--pid", "--fork", "--mount-proc", "true"]
    return _runs(uid, *words)


@functools.cache
def _userns() -> bool:
    with _fork_allowed():
        pid = os.fork()
    if pid == 0:
        _drop(USER_UID, USER_UID)
        os._exit(1 if _LIBC.unshare(_CLONE_NEWUSER) else 0)
    return os.waitpid(pid, 0)[1] == 0


# --- who a test runs as --------------------------------------------------------------------------------------------


class _Popen(subprocess.Popen[Any]):
    """A process that a failed test does not wait for."""

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, *rest)


@dataclass(frozen=True)
class Who:
    """A user that tests run programs as, with a home, a temporary directory and a clean environment of its own."""

    name: str
    uid: int
    gid: int
    home: Path
    tmp: Path

    @property
    def is_root(self) -> bool:
        return self.uid == ROOT_UID

    @property
    def env(self) -> dict[str, str]:
        """A fresh copy of the environment: nothing of the session's own gets in but the executor that was chosen."""
        here = {"PATH": PATH, "HOME": str(self.home), "LANG": "C.UTF-8", "TMPDIR": str(self.tmp)}
        here |= {name: value for name, value in os.environ.items() if name == "SANDRUN_EXECUTOR"}
        # Root's plans would be kept in the home of passwd(5), which is not the one above.
        return {**here, "SANDRUN_CACHE": "off"}

    @property
    def sandrun(self) -> list[str]:
        """The words that start sandrun as this user, for tests that need Popen or pexpect."""
        return list(_launcher(self.uid))

    @property
    def importing(self) -> str:
        """The statements with which a script that this user runs by the interpreter `sandrun[0]` finds sandrun."""
        words = _launcher(self.uid)
        return "" if words[2] == "-m" else "; ".join(words[3].split("; ")[:2])

    def drop(self) -> None:
        """Become this user in this process: for `preexec_fn` and forked children. There is no way back."""
        _drop(self.uid, self.gid)

    def own(self, *paths: Path) -> None:
        """Give files to this user, without following a final symlink."""
        if os.geteuid() == ROOT_UID:
            for path in paths:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def popen(self, argv: Sequence[str | bytes | Path], **options: Any) -> subprocess.Popen[Any]:
        """subprocess.Popen as this user, in its home with its environment unless `cwd` and `env` say otherwise."""
        options.setdefault("env", self.env)
        options.setdefault("cwd", self.home)
        if os.geteuid() == ROOT_UID and not self.is_root:
            options.update(user=self.uid, group=self.gid, extra_groups=[])
        return _Popen(argv, **options)

    def run(
        self,
        argv: Sequence[str | bytes | Path],
        *,
        input: str | bytes | None = None,  # noqa: A002  the name that subprocess.run gives it
        timeout: float = 60,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """subprocess.run as this user. Output is captured as text (stdin is /dev/null) unless the options differ."""
        options.setdefault("text", True)
        options.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        with self.popen(argv, **options) as process:
            try:
                out, err = process.communicate(input, timeout * PATIENCE)
            except BaseException as error:
                process.kill()
                if isinstance(error, subprocess.TimeoutExpired):
                    error.add_note(f"stdout: {error.output!r}\nstderr: {error.stderr!r}")
                raise
        done = subprocess.CompletedProcess(argv, process.returncode, out, err)
        if check and done.returncode:
            pytest.fail(f"{argv!r} ended with {done.returncode}\nstdout: {out}\nstderr: {err}")
        return done


_WITH_RANGES = """
set -e
mount -t tmpfs none /mnt
{ cat /etc/passwd; echo "srtest:x:$1:$1::/:/bin/sh"; } >/mnt/passwd
echo "srtest:100000:65536" >/mnt/subuid
echo "$1:200000:65536" >/mnt/subgid
for name in passwd subuid subgid; do
    chmod 644 /mnt/$name
    mount --bind /mnt/$name /etc/$name
done
umount -l /mnt
uid=$1
shift
exec setpriv --reuid $uid --regid $uid --clear-groups -- "$@"
"""
_RANGED = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _WITH_RANGES, "sh", str(USER_UID))


@dataclass(frozen=True)
class RangedWho(Who):
    """The ordinary user with an account and ranges of subuid(5): 100000 and on, of groups 200000 and on.

    Only what it starts sees the account, in a mount namespace; the machine's own files stay as they are.
    """

    def popen(self, argv: Sequence[str | bytes | Path], **options: Any) -> subprocess.Popen[Any]:
        options.setdefault("env", self.env)
        options.setdefault("cwd", self.home)
        return _Popen([*_RANGED, *argv], **options)


def ranged(who: Who) -> RangedWho:
    """This ordinary user with ranges; ask `need_ranges` first."""
    return RangedWho(who.name, who.uid, who.gid, who.home, who.tmp)


def need_ranges() -> None:
    """An ordinary user can be given ranges of ids here, and newuidmap(1) maps them."""
    need_root()
    need_userns()
    need_program("newuidmap")
    need(_runs(ROOT_UID, *_RANGED, "true"), "no mount namespace for another passwd(5)")


def sandrun(*args: str | bytes | Path, who: Who, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run the real program as `who`; the options are those of `Who.run` (cwd, env, input, timeout, check ...).

    SANDRUN_TEST_CACHE has it run by the front, with the plan cache as `tests.cached` says.
    """
    mode = os.environ.get("SANDRUN_TEST_CACHE")
    if not mode:
        return who.run([*who.sandrun, *args], **options)
    from tests import cached  # which is about this module's users

    assert mode in cached.MODES, mode
    return cached.run(mode, args, who, options)


@contextlib.contextmanager
def a_who(name: str) -> Iterator[Who]:
    """Make the user `name` ("root" or "user") with its directories; remove them afterwards."""
    uid, gid = (ROOT_UID, 0) if name == "root" else (USER_UID, USER_UID)
    if not CAN_BE_ROOT:
        uid, gid = os.getuid(), os.getgid()
    with a_directory() as base:
        who = Who(name, uid, gid, base / "home", base / "tmp")
        for path in (who.home, who.tmp):
            path.mkdir(mode=0o700)
        who.own(base, who.home, who.tmp)
        yield who


@contextlib.contextmanager
def a_directory() -> Iterator[Path]:
    """A new directory that any user can enter (pytest's own are closed to uid 1234), removed with all it holds."""
    path = Path(tempfile.mkdtemp(prefix="srtest-")).resolve()
    path.chmod(0o755)
    try:
        yield path
    finally:
        remove_tree(path)


def remove_tree(path: Path) -> None:
    """Remove a tree even where the test took its own rights away."""
    for folder, _, _ in os.walk(path):
        if os.stat(folder).st_uid == os.geteuid():
            os.chmod(folder, 0o700)
    shutil.rmtree(path)


def _drop(uid: int, gid: int) -> None:
    if os.geteuid() == ROOT_UID and uid != ROOT_UID:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        # A change of uid makes a process non-dumpable, which closes its own /proc/self to it (proc(5)).
        _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


# --- the real program ----------------------------------------------------------------------------------------------

_LIBRARIES = ("click", "dnspython", "tomli", "landlock", "pyseccomp", "python-prctl")
_IMPORTS = "import click, landlock, prctl, pyseccomp, tomli"
_BOOT = "import sys; sys.path[:0] = [{place!r}]; from sandrun.__main__ import main; sys.exit(main())"


@functools.cache
def _launcher(uid: int) -> tuple[str, ...]:
    """The words that start sandrun as this uid: the session's interpreter and checkout, or readable copies of them."""
    installed = (sys.executable, "-I")
    if _runs(uid, *installed, "-c", f"import sandrun; {_IMPORTS}"):
        return (*installed, "-m", "sandrun")
    place = str(_readable_copy())
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, shutil.which(version, path=PATH)):
        if python and _runs(uid, python, "-I", "-c", f"import sys; sys.path[:0] = [{place!r}]; {_IMPORTS}"):
            return (python, "-I", "-c", _BOOT.format(place=place))
    need(False, f"no {version} that uid {uid} can execute")
    return ()


def _runs(uid: int, *argv: str) -> bool:
    drop: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": []} if uid != os.geteuid() else {}
    try:
        done = subprocess.run(argv, capture_output=True, cwd="/", env={"PATH": PATH}, **drop)
    except OSError:
        return False
    return done.returncode == 0


@functools.cache
def _readable_copy() -> Path:
    """A copy of the checkout's program and its libraries that every user can read, for checkouts below a 0700 home."""
    place = Path(tempfile.mkdtemp(prefix="srtest-program-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    place.chmod(0o755)
    for name in ("sandrun", "profiles"):
        shutil.copytree(CHECKOUT / name, place / name, ignore=UNFINISHED)
    for name in _LIBRARIES:
        for part in importlib.metadata.files(name) or ():
            if part.parts[0] != "..":
                (place / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(part.locate(), place / part)
    for path in place.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return place


# --- code in a child -----------------------------------------------------------------------------------------------


class ChildDiedError(Exception):
    """The child of `in_child` ended without a result; `signal` is what killed it, 0 if it left by itself."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the child ended without a result: wait status {status:#x}")
        self.status = status
        self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def in_child(fn: Callable[[], T], who: Who | None = None, timeout: float = 60) -> T:
    """Call `fn` in a forked child, as `who` if given, and return what it returned, raised or skipped.

    What cannot be undone (Landlock, seccomp, capabilities) is tested so. The result comes over a pipe opened before,
    so the child may have lost every right by then. Raises ChildDiedError if a signal ended it.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with _fork_allowed():
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(fn, who, writer)
    os.close(writer)
    data = bytearray()
    deadline = time.monotonic() + timeout * PATIENCE
    try:
        while select.select([reader], [], [], max(0, deadline - time.monotonic()))[0]:
            chunk = os.read(reader, 1 << 16)
            if not chunk:
                break
            data += chunk
        else:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(reader)
        status = os.waitpid(pid, 0)[1]
    if not data:
        raise ChildDiedError(status)
    kind, value, text = pickle.loads(bytes(data))
    if kind == "result":
        return value  # type: ignore[no-any-return]
    if kind == "skip":
        pytest.skip(value)
    if kind == "fail":
        pytest.fail(f"{value}\n{text}")
    value.add_note(text)
    raise value


def _child(fn: Callable[[], object], who: Who | None, writer: int) -> NoReturn:
    try:
        if who is not None:
            who.drop()
            os.environ.clear()
            os.environ.update(who.env)
            os.chdir(who.home)
        answer = ("result", fn(), "")
        data = pickle.dumps(answer)
    except pytest.skip.Exception as skip:
        data = pickle.dumps(("skip", str(skip), ""))
    except pytest.fail.Exception as failure:
        data = pickle.dumps(("fail", str(failure), traceback.format_exc()))
    except BaseException as error:  # noqa: BLE001  the child must not run on as a second pytest, whatever happened
        data = _as_bytes(error)
    try:
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)  # also where nobody listens any more: it must not run on as a second pytest


def _as_bytes(error: BaseException) -> bytes:
    text = "in the child:\n" + traceback.format_exc()
    try:
        data = pickle.dumps(("error", error, text))
        pickle.loads(data)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        data = pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}"), text))
    return data


@contextlib.contextmanager
def _fork_allowed() -> Iterator[None]:
    """Python 3.12 warns of fork where threads exist; xdist has one, which touches nothing that the child uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


# --- ports ---------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A TCP port of both loopback addresses that nobody has, for a program that is told its number.

    It is below those that the kernel gives to whoever asks for none (ip_local_port_range, ip(7)): tests that run beside this
    one would get one of them before the program does.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(10_000, first if first > 11_000 else 60_000)
        if all(_can_listen(family, address, port) for family, address in _LOOPBACK):
            return port


_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def _can_listen(family: int, address: str, port: int) -> bool:
    try:
        socket.create_server((address, port), family=family).close()
    except OSError as error:
        return error.errno != errno.EADDRINUSE  # where there is no IPv6, nobody has the port there
    return True


# --- leaks ---------------------------------------------------------------------------------------------------------


def become_subreaper() -> None:
    """Orphans of what the tests start become our children, so that none gets away (PR_SET_CHILD_SUBREAPER)."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int | None = None) -> dict[int, str]:
    """The living processes below `pid` (this one): their ids and command names.

    A zombie is not alive, unless only its first thread ended and others go on.
    """
    found: dict[int, str] = {}
    wave = children(os.getpid() if pid is None else pid)
    while wave:
        for child in wave:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                line = Path(f"/proc/{child}/stat").read_text(errors="replace")
                if line.rpartition(") ")[2][0] != "Z" or len(os.listdir(f"/proc/{child}/task")) > 1:
                    found[child] = line[line.index("(") + 1 : line.rindex(")")]
        wave = [grandchild for child in wave for grandchild in children(child)]
    return found


def left_since(before: Mapping[int, str], seconds: float = 20) -> dict[int, str]:
    """The descendants of this process that were not there before, and do not go away by themselves on a busy machine.

    The init process of a pid namespace whose supervisor was killed ends when the others are reaped, by us.
    """
    end = time.monotonic() + seconds
    while True:
        left = {pid: name for pid, name in descendants().items() if pid not in before}
        if not left or time.monotonic() > end:
            return left
        reap_orphans()
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """The child processes of every thread of `pid`, zombies too (proc_pid_task_children(5))."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends hides no other's
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def kill_all(pids: Mapping[int, str]) -> None:
    """End leaked processes and reap those that are our children.

    In the order in which they end: the init process of a pid namespace does not end before the others are reaped.
    """
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    left = set(pids)
    end = time.monotonic() + 10
    while left and time.monotonic() < end:
        for pid in tuple(left):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0]
            except ChildProcessError:
                ended = pid
            left.discard(ended)
        time.sleep(0.005)


def reap_orphans() -> None:
    """Reap the zombies that became ours as subreaper: the control of one attempt alone leaves a thousand."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            os.waitpid(ended.si_pid, 0)


def files_below(folder: Path) -> set[str]:
    """What is there, by path and type, with the socket and fifo nobody would look for."""
    found = set()
    for path, folders, names in os.walk(folder):
        for name in folders + names:
            full = f"{path}/{name}"
            with contextlib.suppress(FileNotFoundError):
                found.add(f"{stat.filemode(os.lstat(full).st_mode)[0]} {full}")
    return found
