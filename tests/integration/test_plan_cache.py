"""The plan cache: a launch that was planned before needs no Python, one that differs in anything is planned anew.

A front stands in a directory of its own, beside a `sandrun-python` that counts how often it is started.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import shutil
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import native
from sandrun.native import SCRIPT
from sandrun.plancache import place
from sandrun.plancache.entry import checksum
from sandrun.plancache.facts import GRAIN_NS
from sandrun.plancache.keep import FRONT
from tests import support
from tests.support import (
    CHECKOUT,
    Who,
    a_directory,
    need,
    need_landlock,
    need_namespaces,
    need_program,
    need_root,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

COLD, LEFT = 77, 78
"""What the stub of Python ends with: as it is, and if the front left it a child."""
SCRIPT_TEXT = """#!{python}
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
if os.path.exists(here + "/stub/on"):
    children = f"/proc/self/task/{{os.getpid()}}/children"
    os._exit({left} if os.path.exists(children) and open(children).read() else {cold})
kept = "kept " if os.environ.get("SANDRUN_EXECUTOR", "").startswith("kept:") else ""
try:
    with open(here + "/log/cold", "a", buffering=1) as log:
        log.write(kept + repr(sys.argv[1:]) + "\\n")
except OSError:
    pass  # where files may not grow
{more}
"""
PLAIN = ("-p", "none", "--execute", "@all", "--read", "@all")
MOST_TRIES = 60


def until(run: Callable[[], tuple[bool, subprocess.CompletedProcess[Any]]]) -> subprocess.CompletedProcess[Any]:
    """Run it until what was kept is used; what belongs to sandrun may have been written just now."""
    for _ in range(MOST_TRIES):
        is_used, done = run()
        if is_used:
            return done
        time.sleep(0.1)
    pytest.fail(f"never kept: {done.args}: {done.returncode} {done.stdout} {done.stderr}")


@dataclass
class Front:
    """An installed front, and the user who runs it with a cache of its own."""

    who: Who
    place: Path
    cwd: Path

    @property
    def cache(self) -> Path:
        return self.who.home / "plans"

    @property
    def env(self) -> dict[str, str]:
        """Where no executor was chosen: else the front leaves the cache alone."""
        env = {name: value for name, value in self.who.env.items() if name != native.VARIABLE}
        return {**env, place.CACHE_VARIABLE: str(self.cache)}

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[Any]:
        options.setdefault("env", self.env)
        options.setdefault("cwd", self.cwd)
        return self.who.run([self.place / FRONT, *words], **options)

    def colds(self) -> int:
        """How often Python was started."""
        log = self.place / "log" / "cold"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def is_kept(self, *words: str, **options: Any) -> tuple[bool, subprocess.CompletedProcess[Any]]:
        """Run it; whether Python was given what the front had found."""
        before = self.colds()
        done = self.run(*words, **options)
        said = (self.place / "log" / "cold").read_text().splitlines()[before:]
        return len(said) == 1 and said[0].startswith("kept "), done

    def is_warm(self, *words: str, **options: Any) -> tuple[bool, subprocess.CompletedProcess[Any]]:
        """Run it; whether Python was not started."""
        before = self.colds()
        done = self.run(*words, **options)
        return self.colds() == before, done

    def warm(self, *words: str, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run it until Python is not started any more; what belongs to sandrun may have been written just now."""
        return until(lambda: self.is_warm(*words, **options))

    def entry(self) -> Path:
        """The one entry."""
        (found,) = (path for path in self.cache.iterdir() if len(path.name) == place.NAME_LENGTH)
        return found

    @contextlib.contextmanager
    def stub(self) -> Iterator[None]:
        """Meanwhile Python only says that it was asked."""
        mark = self.place / "stub" / "on"
        mark.touch()
        try:
            yield
        finally:
            mark.unlink()


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Path]]:
    """An installed front for each user, with profiles, all of it old enough to be believed."""
    need(os.access(native.BINARY, os.X_OK), "the native executor is not compiled")
    with contextlib.ExitStack() as stack:
        made = {}
        for name in support.WHOS:
            where = stack.enter_context(a_directory())
            made[name] = where
            with support.a_who(name) as who:
                words = who.sandrun
            more = words[-1].partition("from ")[0] if "-c" in words else ""
            script = SCRIPT_TEXT.format(python=words[0], cold=COLD, left=LEFT, more=more)
            script += (CHECKOUT / "tools" / SCRIPT).read_text().partition("\n")[2]
            shutil.copy(native.BINARY, where / FRONT)
            (where / SCRIPT).write_text(script)
            (where / SCRIPT).chmod(0o755)
            for folder in ("log", "stub", "profiles"):
                (where / folder).mkdir(mode=0o777)
                (where / folder).chmod(0o777)
            for number in range(4):
                (where / "profiles" / f"{number}.toml").write_text(
                    'schema = 1\nextends = "none"\n[filesystem]\nread = ["@all"]\nexecute = ["@all"]\n'
                )
                (where / "profiles" / f"{number}.toml").chmod(0o644)
            (where / "profiles" / "sets.toml").write_text('schema = 1\n[environment.set]\nSET = "1"\n')
            (where / "profiles" / "sets.toml").chmod(0o644)
            shutil.copy("/bin/true", where / "command")
            (where / "passwd").write_text(
                f"root:x:0:0:root:{where}/profiles:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
            )
        time.sleep(GRAIN_NS / 1e9 + 0.2)
        yield made


@pytest.fixture
def front(who: Who, box: Path, places: dict[str, Path]) -> Front:
    return Front(who, places[who.name], box)


# --- warm -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [PLAIN, ("-p", "strict"), ("-p", "compute?"), ("--quiet", *PLAIN, "--")], ids=" ".join
)
def test_the_second_launch_needs_no_python(front: Front, words: tuple[str, ...]) -> None:
    """What was planned once is launched by the front alone, with the same output and status."""
    words = tuple(word.removesuffix("?") for word in words)
    if "compute" in words and not (CHECKOUT / "profiles" / "compute.toml").exists():
        words = PLAIN
    first = front.run(*words, "sh", "-c", "echo $0; exit 3", "a")
    done = front.warm(*words, "sh", "-c", "echo $0; exit 3", "a")
    assert (
        (done.returncode, done.stdout, done.stderr) == (3, "a\n", "") == (first.returncode, first.stdout, first.stderr)
    )


def test_a_view_is_kept(front: Front) -> None:
    """A plan with namespaces and mounts is launched from the cache, and keeps what it promises."""
    need_namespaces(front.who)
    need_landlock(1)
    script = "echo $$; ls -A /tmp; touch inside; touch /outside 2>/dev/null || echo refused"
    done = front.warm("-p", "default", "sh", "-c", script)
    assert done.stdout.split()[-1] == "refused"
    assert (front.cwd / "inside").exists()
    assert not os.path.exists("/outside")


def test_the_words_of_the_command_are_those_of_the_call(front: Front) -> None:
    """They are in no key and in no entry: they may hold a secret."""
    front.warm(*PLAIN, "echo", "first-secret")
    warm, done = front.is_warm(*PLAIN, "echo", "second")
    assert warm
    assert done.stdout == "second\n"
    assert b"secret" not in front.entry().read_bytes()


def test_values_of_variables_are_those_of_the_call(front: Front) -> None:
    """A variable that is passed is in the entry by its name only."""
    words = (*PLAIN, "--env", "SHOWN", "sh", "-c", "echo $SHOWN")
    front.warm(*words, env={**front.env, "SHOWN": "value-before"})
    warm, done = front.is_warm(*words, env={**front.env, "SHOWN": "value-now"})
    assert warm
    assert done.stdout == "value-now\n"
    assert b"value-" not in front.entry().read_bytes()


@pytest.mark.parametrize(("script", "status"), [("kill -TERM $$", 143), ("exit 0", 0), ("kill -SEGV $$", 139)])
def test_statuses(front: Front, script: str, status: int) -> None:
    """The status of a command that was launched from the cache is the one it would have otherwise."""
    assert front.warm(*PLAIN, "sh", "-c", script).returncode == status


def test_standard_descriptors(front: Front) -> None:
    """Which file, pipe or device they are does not count, as long as no profile names terminals."""
    words = (*PLAIN, "sh", "-c", "cat; echo said >&2")
    front.warm(*words)
    with (front.cwd / "out").open("wb") as out, (front.cwd / "out").open("rb") as empty:
        for options in ({"stdout": out}, {"stdout": out, "stderr": out}, {"stdin": empty}, {"input": "sent"}):
            warm, done = front.is_warm(*words, **options)
            assert warm
            assert done.returncode == 0


def test_a_socket_as_standard_input(front: Front) -> None:
    """Programs such as Node hand pairs of sockets over: which pair it is does not count, that it is one does."""
    words = (*PLAIN, "cat")
    for kind, refused in ((socket.SOCK_STREAM, False), (socket.SOCK_DGRAM, True), (socket.SOCK_STREAM, False)):
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with ours, theirs:
            ours.send(b"sent")
            if not refused:
                ours.shutdown(socket.SHUT_WR)
            done = front.run(*words, stdin=theirs)
            assert (done.returncode == 125) is refused
            assert "sent" not in done.stdout if refused else done.stdout == "sent"


@pytest.mark.parametrize("profile", ["none", "default"])
def test_python_reads_it_too(front: Front, profile: str) -> None:
    """Where Python executes, a launch that was planned before is not planned again: its entry stays as it is."""
    if profile == "default":
        need_namespaces(front.who)
        need_landlock(1)
    words = (
        (*PLAIN, "sh", "-c", "echo $0; exit 3")
        if profile == "none"
        else ("-p", "default", "sh", "-c", "echo $0; exit 3")
    )
    env = {**front.env, native.VARIABLE: "python"}
    seen: list[int] = []
    for number in range(MOST_TRIES):
        done = front.run(*words, str(number), env=env)
        assert (done.returncode, done.stdout, done.stderr) == (3, f"{number}\n", "")
        seen += [path.stat().st_ino for path in front.cache.glob("*")][:1]
        if len(seen) > 2 and seen[-1] == seen[-2]:
            break
        time.sleep(0.1)
    else:
        pytest.fail("never kept")
    done = front.run(*words, "x", env={**env, "PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (3, "x\n")
    assert front.entry().stat().st_ino != seen[-1]


# --- stale ------------------------------------------------------------------------------------------------------------


def _limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 123), hard))


@dataclass
class Change:
    """Words that are kept, and what makes them another launch."""

    words: tuple[str, ...]
    change: Callable[[Front], dict[str, Any]]


def _variable(name: str, value: str) -> Callable[[Front], dict[str, Any]]:
    return lambda front: {"env": {**front.env, name: value}}


def _replace(path: str) -> Callable[[Front], dict[str, Any]]:
    def change(front: Front) -> dict[str, Any]:
        target = front.cwd / path
        other = target.with_name("other")
        other.write_bytes(target.read_bytes())
        other.chmod(0o755)
        front.who.own(other)
        other.rename(target)
        return {}

    return change


def _chmod(path: str) -> Callable[[Front], dict[str, Any]]:
    return lambda front: (front.cwd / path).chmod(0o700) or {}


def _make(path: str) -> Callable[[Front], dict[str, Any]]:
    def change(front: Front) -> dict[str, Any]:
        (front.cwd / path).parent.mkdir(parents=True, exist_ok=True)
        (front.cwd / path).write_text("")
        return {}

    return change


def _turn_link(front: Front) -> dict[str, Any]:
    (front.cwd / "link").unlink()
    (front.cwd / "link").symlink_to("two")
    return {}


def _other_directory(front: Front) -> dict[str, Any]:
    other = front.cwd / "one"
    return {"cwd": other}


def _stdin_is_open_for_both(front: Front) -> dict[str, Any]:
    return {"stdin": (front.cwd / "one" / "key").open("r+b")}


CHANGES = {
    "value of PATH": Change(PLAIN, _variable("PATH", "/bin:/usr/bin:/nowhere")),
    "value of HOME": Change((*PLAIN, "--home", "hidden"), _variable("HOME", "/nowhere")),
    "name of a variable": Change(PLAIN, _variable("NEW", "1")),
    "locale": Change(PLAIN, _variable("LANG", "C")),
    "library path": Change(PLAIN, _variable("LD_LIBRARY_PATH", "/nowhere")),
    "directory of profiles": Change(("-p", "strict"), _variable("XDG_CONFIG_HOME", "/nowhere")),
    "working directory": Change(PLAIN, _other_directory),
    "limit": Change((*PLAIN, "--rlimit", "nofile=1000"), lambda _: {"preexec_fn": _limit}),
    "file granted": Change(("-p", "strict", "--read", "one/key"), _replace("one/key")),
    "mode of a file granted": Change(("-p", "strict", "--read", "one/key"), _chmod("one/key")),
    "glob": Change((*PLAIN, "--deny", "one/*"), _make("one/more")),
    "absent file": Change(("-p", "strict", "--read", "one/absent?"), _make("one/absent")),
    "link": Change(("-p", "strict", "--read", "link"), _turn_link),
    # Not with a grant of "/": /tmp would be listed as well, where other tests come and go.
    "sibling": Change(("-p", "strict", "--read", ".", "--deny", "one/key", "--isolate", "false"), _make("one/sibling")),
    "descriptor": Change(PLAIN, _stdin_is_open_for_both),
    "profile by name": Change(("-p", "strict"), _make("config/sandrun/profiles/strict.toml")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_stale(front: Front, name: str) -> None:
    """Whatever was asked when the plan was made is asked again; another answer, and the plan is made anew."""
    for path in ("one/key", "two/key", "config/x"):
        (front.cwd / path).parent.mkdir(exist_ok=True)
        (front.cwd / path).write_text(path)
        front.who.own(front.cwd / path, (front.cwd / path).parent)
    (front.cwd / "link").symlink_to("one")
    words, change = CHANGES[name].words, CHANGES[name].change
    env = {**front.env, "XDG_CONFIG_HOME": str(front.cwd / "config")}
    front.warm(*words, "true", env=env)
    options = change(front)
    warm, done = front.is_warm(*words, "true", **{"env": env, **options})
    assert not warm, done
    assert done.returncode == (126 if name == "profile by name" else 0), done.stderr
    if "stdin" in options:
        options["stdin"].close()


@pytest.mark.parametrize("view", [(), ("--home", "hidden")], ids=["without a view", "with a view"])
def test_stale_with_namespaces(front: Front, view: tuple[str, ...]) -> None:
    """Namespaces are made while the questions are asked. If an answer is another one, the command does not run, and
    nothing is left of what was begun for it."""
    need_namespaces(front.who)
    (front.cwd / "one").mkdir()
    front.who.own(front.cwd / "one")
    ran = front.cwd / "ran"
    words = (*PLAIN, "--isolate", "true", *view, "--write", str(front.cwd), "--deny", "one", "--")
    command = ("sh", "-c", f"echo >> {ran}")
    front.warm(*words, *command)
    with front.stub():
        runs = ran.read_text()
        assert front.run(*words, *command).returncode == 0
        assert ran.read_text() == runs + "\n"
        (front.cwd / "one").chmod(0o711)
        for _ in range(10):
            assert front.run(*words, *command).returncode == COLD
        assert ran.read_text() == runs + "\n"
    done = front.run(*words, *command)
    assert (done.returncode, ran.read_text()) == (0, runs + "\n\n"), done.stderr


def test_stale_with_a_view_that_hangs(front: Front) -> None:
    """What is made for a plan that does not hold is not waited for, and nothing is left of it."""
    need_namespaces(front.who)
    strace = need_program("strace")
    (front.cwd / "one").mkdir()
    front.who.own(front.cwd / "one")
    words = (*PLAIN, "--home", "hidden", "--write", str(front.cwd), "--deny", "one", "--", "true")
    front.warm(*words)
    (front.cwd / "one").chmod(0o711)
    # The child stops where it mounts, as if a file server did not answer. It gets there, since the front is late to end it.
    trace = [strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=mount_setattr,kill"]
    trace += ["-e", "inject=mount_setattr:signal=SIGSTOP", "-e", "inject=kill:delay_enter=1000000:when=1"]
    with front.stub():
        done = front.who.run([*trace, front.place / FRONT, *words], env=front.env, cwd=front.cwd, timeout=15)
    assert done.returncode == COLD, done


def test_a_directory_as_standard_input(front: Front) -> None:
    """Python does not start with one, and would end as if the command had failed: a line, also where a plan is kept."""
    place = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(2):
            done = front.run(*PLAIN, "true", stdin=place)
            line = "sandrun: descriptor 0 is a directory, with which Python does not start: redirect it\n"
            assert (done.returncode, done.stderr) == (125, line)
            front.warm(*PLAIN, "true")
    finally:
        os.close(place)


def test_stale_profile(front: Front) -> None:
    """An edited profile counts at once, and is believed once it is old enough to show a further edit."""
    profile = front.place / "profiles" / ("0.toml" if front.who.is_root else "1.toml")
    front.warm("-p", str(profile), "true")
    text = profile.read_text()
    profile.write_text(text.replace('execute = ["@all"]', 'execute = ["@all"]\ndeny = ["/etc/hostname"]'))
    try:
        before = profile.stat()
        for _ in range(3):
            warm, done = front.is_warm("-p", str(profile), "cat", "/etc/hostname")
            assert not warm
            assert done.returncode != 0
            if time.time_ns() > before.st_ctime_ns + GRAIN_NS:
                break  # on a slow machine it is old enough by now
        os.utime(profile, ns=(before.st_atime_ns, before.st_mtime_ns - 10**10))
        assert front.warm("-p", str(profile), "cat", "/etc/hostname").returncode != 0
    finally:
        profile.write_text(text)


def test_stale_base_of_a_profile(front: Front) -> None:
    """What a profile extends counts as the profile itself."""
    base = front.place / "profiles" / ("2.toml" if front.who.is_root else "3.toml")
    upper = front.cwd / "upper.toml"
    upper.write_text(f'schema = 1\nextends = "{base}"\n')
    front.who.own(upper)
    time.sleep(GRAIN_NS / 1e9 + 0.1)
    front.warm("-p", "./upper.toml", "true")
    base.write_text(base.read_text())
    warm, _ = front.is_warm("-p", "./upper.toml", "true")
    assert not warm


def test_stale_command(front: Front) -> None:
    """A command that was replaced by another of the same size and times is another."""
    command = front.cwd / "command"
    shutil.copy2(front.place / "command", command)
    front.who.own(command)
    words = ("-p", "strict", "--execute", str(command), "--read", str(command), str(command))
    time.sleep(GRAIN_NS / 1e9 + 0.1)
    front.warm(*words)
    times = command.stat()
    data = bytearray(command.read_bytes())
    data[-1] ^= 1
    command.write_bytes(data)
    os.utime(command, ns=(times.st_atime_ns, times.st_mtime_ns))
    warm, _ = front.is_warm(*words)
    assert not warm


def test_stale_privileges(front: Front) -> None:
    """A process that may do less plans anew."""
    front.warm(*PLAIN, "true")
    less = ["--no-new-privs"], ["--bounding-set", "-net_raw", "--inh-caps", "-all", "--securebits", "+noroot"]
    for options in less[: 1 + front.who.is_root]:
        before = front.colds()
        words = ["setpriv", *options, str(front.place / FRONT), *PLAIN, "true"]
        assert front.who.run(words, env=front.env, cwd=front.cwd, check=True)
        assert front.colds() > before


def test_stale_mounts(front: Front) -> None:
    """A mount may show by another name what is denied."""
    need_root()
    if not front.who.is_root:
        pytest.skip("mounting is for root")
    words = (*PLAIN, "--deny", str(front.cwd / "secret"))
    (front.cwd / "secret").mkdir()
    (front.cwd / "alias").mkdir()
    shell = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, "sh"]
    front.warm(*words, "true")
    before = front.colds()
    done = front.who.run(
        [*private, front.cwd / "secret", front.cwd / "alias", front.place / FRONT, *words, "ls", front.cwd / "alias"],
        env=front.env,
        cwd=front.cwd,
    )
    assert front.colds() > before
    assert done.returncode != 0 or not done.stdout


def _rename_over(etc: Path) -> None:
    (etc / "new").write_text("secret")
    (etc / "new").chmod(0o600)
    (etc / "new").rename(etc / "sub" / "link")


def _other_folder(etc: Path) -> None:
    (etc / "sub").rename(etc.parent / "away")
    (etc / "sub").mkdir()
    for name in ("file", "link"):
        (etc / "sub" / name).write_text("secret")
        (etc / "sub" / name).chmod(0o600)


def _new_secret(etc: Path) -> None:
    (etc / "sub" / "new").touch(0o600)


IN_ETC: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("sub/file", lambda etc: (etc / "sub" / "file").chmod(0o600)),
    ("sub/new", _new_secret),
    ("sub/link", _rename_over),
    ("other/file", lambda etc: (etc / "other").chmod(0o700)),
    ("sub/link", _other_folder),
)


def test_stale_modes(front: Front) -> None:
    """For root what others may not read is denied in /etc; a mode that changes there is seen, although its directory
    does not change by that."""
    need_root()
    need_landlock(1)
    if not front.who.is_root:
        pytest.skip("only for root do file modes not stop")
    etc = front.cwd / "etc"
    for folder in ("sub", "other"):
        (etc / folder).mkdir(parents=True)
        (etc / folder / "file").write_text(folder)
    (etc / "sub" / "link").symlink_to("file")
    for name in ("passwd", "group", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", etc)
    shell = 'mount --bind "$1" /etc; shift; exec "$@"'
    other = ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, "sh", etc]
    words = ["-p", "none", "--execute", "@system", "--read", "@system", "cat"]

    def run(path: str) -> tuple[bool, subprocess.CompletedProcess[Any]]:
        before = front.colds()
        done = front.who.run([*other, front.place / FRONT, *words, path], env=front.env, cwd=front.cwd)
        return front.colds() == before, done

    for name, change in IN_ETC:
        time.sleep(GRAIN_NS / 1e9 + 0.1)  # so that the directories are old enough not to be listed
        kept = any(warm and done.returncode == 0 for warm, done in (run("/etc/passwd") for _ in range(5)))
        assert kept, run("/etc/passwd")
        change(etc)
        kept, done = run(f"/etc/{name}")
        assert (kept, done.returncode) == (False, 1), (name, done)


# --- not kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--env", "SET=1"),
        ("-p", "sets.toml"),
        ("--report", "report.json"),
        ("--verbose",),
        ("--create", "made"),
        ("--require", "seccomp"),
        ("--read", "/nowhere/${A_TOKEN}?"),
        ("--write", "one-file"),
    ],
    ids=" ".join,
)
def test_not_kept(front: Front, words: tuple[str, ...]) -> None:
    """What holds values, tells, makes files, takes trials or warns is planned each time."""
    (front.cwd / "one-file").write_text("")
    front.who.own(front.cwd / "one-file")
    words = tuple(str(front.place / "profiles" / word) if word.endswith(".toml") else word for word in words)
    env = {**front.env, "A_TOKEN": "hidden"}
    for _ in range(2):
        warm, done = front.is_warm(*PLAIN, *words, "true", env=env)
        assert not warm
        assert done.returncode == 0, done.stderr
    assert not front.cache.exists() or not list(front.cache.iterdir())


@pytest.mark.parametrize("value", ["off", "", "relative/plans"])
def test_disabled(front: Front, value: str) -> None:
    """Without a place nothing is kept."""
    for _ in range(2):
        warm, done = front.is_warm(*PLAIN, "echo", "x", env={**front.env, place.CACHE_VARIABLE: value})
        assert not warm
        assert done.stdout == "x\n"
    assert not (front.cwd / "relative").exists()


@pytest.mark.parametrize("executor", ["python", "native"])
def test_an_executor_that_was_named_is_used(front: Front, executor: str) -> None:
    """The cache is left alone where somebody wants to see an executor at work."""
    front.warm(*PLAIN, "true")
    warm, done = front.is_warm(*PLAIN, "true", env={**front.env, native.VARIABLE: executor})
    assert not warm
    assert done.returncode == 0


# --- damaged and hostile ----------------------------------------------------------------------------------------------


def test_damaged(front: Front) -> None:
    """No damage of an entry makes a launch of it: every 509th byte changed, cut short anywhere, or longer."""
    front.warm(*PLAIN, "true")
    entry = front.entry()
    data = entry.read_bytes()
    changed = [
        data[:at] + bytes((data[at] ^ 1 << at % 8,)) + data[at + 1 :]
        for at in itertools.chain(range(24), range(24, len(data), 509))
    ]
    cut = [data[:size] for size in (0, 1, 8, 11, 12, 19, 20, 25, len(data) // 2, len(data) - 1)]
    with front.stub():
        for wrong in (*changed, *cut, data + b"\0", data + bytes(8), data + data):
            entry.write_bytes(wrong)
            assert front.run(*PLAIN, "true").returncode == COLD
        entry.write_bytes(data)
        assert front.run(*PLAIN, "true").returncode == 0


def test_damaged_behind_a_right_sum(front: Front) -> None:
    """Lengths that lead nowhere are found by the reading itself, where the sum is right."""
    front.warm(*PLAIN, "true")
    entry = front.entry()
    head, body = entry.read_bytes()[:12], entry.read_bytes()[20:]
    starts = []
    at = 0
    while at < len(body):
        starts.append(at)
        at += 6 + struct.unpack_from("<HI", body, at)[1]
    with front.stub():
        for start, size in itertools.product(starts, (0, 1, 5, len(body), 2**31, 2**32 - 1)):
            wrong = body[: start + 2] + struct.pack("<I", size) + body[start + 6 :]
            if wrong != body:
                entry.write_bytes(head + struct.pack("<Q", checksum(wrong)) + wrong)
                assert front.run(*PLAIN, "true").returncode == COLD
        facts = starts[2] + 6
        for at in range(facts, facts + 400, 7):
            wrong = body[:at] + bytes((body[at] ^ 0xFF,)) + body[at + 1 :]
            entry.write_bytes(head + struct.pack("<Q", checksum(wrong)) + wrong)
            assert front.run(*PLAIN, "true").returncode in (0, COLD)  # another name may be absent as well


def _link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o600)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "readable by others": lambda entry: entry.chmod(0o644),
    "writable by a group": lambda entry: entry.chmod(0o620),
    "set-user-ID": lambda entry: entry.chmod(0o4600),
    "a link": _link,
    "another name of it": lambda entry: os.link(entry, entry.with_name("more")),
    "a fifo": _fifo,
    "a directory": _directory,
    "too large": lambda entry: os.truncate(entry, place.MOST_BYTES + 1),
    "a place that others read": lambda entry: entry.parent.chmod(0o755),
    "a place that others write": lambda entry: entry.parent.chmod(0o777),
    "a place that is a link": lambda entry: _link(entry.parent),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile(front: Front, how: str) -> None:
    """An entry or a place that others could have made is not looked at, and nothing waits for it."""
    front.warm(*PLAIN, "true")
    HOSTILE[how](front.entry())
    with front.stub():
        assert front.run(*PLAIN, "true").returncode == COLD
    done = front.run(*PLAIN, "echo", "runs")
    assert done.stdout == "runs\n"


@pytest.mark.parametrize("whose", ["entry", "place"])
def test_of_another_user(front: Front, whose: str) -> None:
    """What belongs to somebody else is not believed, also by root."""
    need_root()
    front.warm(*PLAIN, "true")
    path = front.entry() if whose == "entry" else front.cache
    os.chown(path, 4321, 4321)
    with front.stub():
        assert front.run(*PLAIN, "true").returncode == COLD


def test_under_another_name(front: Front) -> None:
    """An entry counts for the words that it was made for, whatever its file is called."""
    front.warm(*PLAIN, "true")
    first = front.entry()
    front.warm(*PLAIN, "false")
    (second,) = (path for path in front.cache.iterdir() if path != first)
    data = first.read_bytes()
    second.write_bytes(data)
    with front.stub():
        assert front.run(*PLAIN, "false").returncode == COLD
        assert front.run(*PLAIN, "true").returncode == 0


def test_a_link_on_the_way(front: Front) -> None:
    """No part of the place's path is a link that somebody could turn."""
    (front.who.home / "way").symlink_to(".")
    env = {**front.env, place.CACHE_VARIABLE: str(front.who.home / "way" / "plans")}
    for _ in range(2):
        warm, done = front.is_warm(*PLAIN, "true", env=env)
        assert not warm
        assert done.returncode == 0


# --- out of reach -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--isolate", "false")], ids=["view", "no view"])
def test_no_command_writes_there(front: Front, more: tuple[str, ...]) -> None:
    """A grant of writing that covers the place leaves it out, or the launch is refused: also before anything is kept."""
    need_landlock(1)
    words = ("-p", "none", "--execute", "@all", "--read", "@all", "--write", str(front.who.home), *more, "sh", "-c")
    (front.who.home / ".config" / "sandrun").mkdir(parents=True)
    (front.who.home / ".local/state/sandrun").mkdir(parents=True)
    front.who.own(*(front.who.home / path for path in (".config", ".config/sandrun", ".local", ".local/state")))
    front.who.own(front.who.home / ".local/state/sandrun")
    script = f"touch {front.who.home}/else; touch {front.cache}/planted; mv {front.cache} {front.who.home}/away"
    done = front.run(*words, script)
    assert done.returncode != 0
    assert not (front.cache / "planted").exists()
    assert not (front.who.home / "away").exists()
    if done.returncode != 125:
        assert (front.who.home / "else").exists()


def test_the_place_itself_is_not_granted(front: Front) -> None:
    """Also by its own name it is not to be written."""
    need_landlock(1)
    front.warm(*PLAIN, "true")
    done = front.run(*PLAIN, "--write", str(front.cache), "touch", str(front.cache / "planted"))
    assert done.returncode != 0
    assert not (front.cache / "planted").exists()


def test_below_the_home_of_passwd(front: Front) -> None:
    """Without SANDRUN_CACHE the place is below the home in passwd(5), whatever HOME and XDG variables say."""
    need_root()
    if not front.who.is_root:
        pytest.skip("the account is root's")
    shell = 'mount --bind "$1" /etc/passwd; shift; exec "$@"'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, "sh", front.place / "passwd"]
    env = {**front.env, "XDG_STATE_HOME": str(front.who.home), "XDG_CACHE_HOME": str(front.who.home)}
    del env[place.CACHE_VARIABLE]
    kept = front.place / "profiles" / place.CACHE_BELOW
    for _ in range(MOST_TRIES):
        done = front.who.run([*words, front.place / FRONT, "-p", "strict", "true"], env=env, cwd=front.cwd)
        assert done.returncode == 0, done.stderr
        if kept.exists() and list(kept.iterdir()):
            break
        time.sleep(0.1)  # as in Front.warm
    assert len(list(kept.iterdir())) == 1
    assert not list(front.who.home.iterdir())


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_bounded(front: Front) -> None:
    """Of too many entries the oldest go, and what an interrupted launch left."""
    front.cache.mkdir(mode=0o700)
    front.who.own(front.cache)
    old = [front.cache / f"{number:064x}" for number in range(place.MOST_ENTRIES + 20)]
    for number, path in enumerate((*old, front.cache / ".0123456789abcdef")):
        path.write_bytes(b"")
        front.who.own(path)
        os.utime(path, (number, number))
    front.warm(*PLAIN, "true")
    left = list(front.cache.iterdir())
    assert len(left) == place.MOST_ENTRIES
    assert not any(path in left for path in old[:21])
    assert not (front.cache / ".0123456789abcdef").exists()


def test_bounded_in_all(front: Front) -> None:
    """Of entries that are too large together the oldest go."""
    front.cache.mkdir(mode=0o700)
    front.who.own(front.cache)
    old = [front.cache / f"{number:064x}" for number in range(5)]
    for number, path in enumerate(old):
        with path.open("wb") as file:
            file.truncate(place.MOST_BYTES)
        front.who.own(path)
        os.utime(path, (number, number))
    front.warm(*PLAIN, "true")
    left = list(front.cache.iterdir())
    assert [path in left for path in old] == [False, False, True, True, True]
    assert len(left) == 4


def test_thousands_of_paths(front: Front) -> None:
    """A launch that names that many is kept as well, and what changes in the last of them is seen."""
    folder = front.cwd / "many"
    folder.mkdir()
    names = [f"file-{number:05}-{'x' * 40}" for number in range(6000)]
    for name in names:
        (folder / name).touch()
    profile = front.cwd / "many.toml"
    profile.write_text(
        f'schema = 1\nextends = "strict"\n[filesystem]\nread = {[f"{folder}/{name}" for name in names]}\n'
    )
    front.who.own(folder, profile, *(folder / name for name in names))
    time.sleep(GRAIN_NS / 1e9 + 0.1)
    words = ("-p", str(profile), "true")
    front.warm(*words)
    size = front.entry().stat().st_size
    with front.stub():
        assert front.run(*words).returncode == 0
        (folder / names[-1]).chmod(0o604)
        assert front.run(*words).returncode == COLD
    assert size < place.MOST_BYTES * len(names) / 20_000


def test_many_launches_leave_nothing(front: Front) -> None:
    """However often it is launched there is one entry, and nothing beside it."""
    front.warm(*PLAIN, "true")
    entry = front.entry().read_bytes()
    with front.stub():
        for _ in range(50):
            assert front.run(*PLAIN, "true").returncode == 0
    assert front.entry().read_bytes() == entry
    assert len(list(front.cache.iterdir())) == 1
