"""The plan cache, its parts: what is asked is asked again the same way, and what is read is checked."""

from __future__ import annotations

import os
import socket
import stat
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.cli import options
from sandrun.errors import UsageError
from sandrun.host import Host, Stat
from sandrun.plancache import answers
from sandrun.plancache import entry as entries
from sandrun.plancache.facts import Facts, Recorder
from tests.support import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "ab" * 32
WORDS = (
    "-p",
    "--profile",
    "--profile=x",
    "-px",
    "-q",
    "-nq",
    "--read",
    "--env",
    "A=1",
    "--",
    "-",
    "true",
    "--no",
    "x",
    "",
)


@given(st.lists(st.sampled_from(WORDS), max_size=8), st.lists(st.sampled_from(WORDS), max_size=3))
def test_words_behind_the_command_change_nothing_before_it(words: list[str], more: list[str]) -> None:
    """The key ends with the command's name, so whatever follows must not change how the words up to it are read."""
    try:
        request = options.parse(words)
    except UsageError:
        return
    if not request.command:
        return
    prefix = words[: len(words) - len(request.command) + 1]
    for tail in ([], more, ["--help"], ["--", "--read"]):
        again = options.parse([*prefix, *tail])
        assert again._replace(command=()) == request._replace(command=())
        assert again.command == (request.command[0], *tail)
    # The front does not look where a word starts with a dash, unless it stands behind "--". It misses a command "-".
    assert prefix[-1][:1] != "-" or prefix[-1] == "-" or prefix[-2:-1] == ["--"]


def entry(facts: bytes = b"facts", values: tuple[bytes, ...] = (b"", b"x")) -> bytes:
    return entries.entry(NAME, b"s" * 16, facts, b"plan", values, 3, b"planned")


def test_an_entry_is_read_as_it_was_written() -> None:
    """All of it comes back, under its own name only."""
    assert entries.parse(entry(), NAME) == (b"s" * 16, b"facts", (b"plan", [b"", b"x"], 3, b"planned"))
    assert entries.parse(entry(), NAME[::-1]) is None


def test_every_damaged_byte_is_seen() -> None:
    """No byte of an entry can change, go or come without being noticed."""
    data = entry()
    for at in range(len(data)):
        for bit in range(8):
            assert entries.parse(data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :], NAME) is None
        assert entries.parse(data[:at], NAME) is None
    for more in (b"\0", bytes(8), data):
        assert entries.parse(data + more, NAME) is None


@given(st.binary(max_size=200))
def test_bytes_that_are_no_entry(data: bytes) -> None:
    """Whatever stands behind a right sum is read without an exception."""
    head = entries.MAGIC + answers.WORD.pack(entries.VERSION) + entries.checksum(data).to_bytes(8, "little")
    assert entries.parse(head + data, NAME) is None
    answers.hold(data, b"")


def asked(questions: Callable[[Recorder], object]) -> Facts:
    facts = Facts()
    questions(Recorder(facts))
    assert not facts.refusal
    return facts


QUESTIONS: dict[str, tuple[Callable[[Recorder, str], object], Callable[[Path], object]]] = {
    "lstat": (lambda host, at: host.lstat(f"{at}/file"), lambda at: (at / "file").chmod(0o600)),
    "stat": (lambda host, at: host.stat(f"{at}/link"), lambda at: (at / "file").chmod(0o600)),
    "absent": (lambda host, at: host.lstat(f"{at}/absent"), lambda at: (at / "absent").touch()),
    "link": (lambda host, at: host.readlink(f"{at}/link"), lambda at: (at / "link").rename(at / "away")),
    "no link": (lambda host, at: host.readlink(f"{at}/none"), lambda at: (at / "none").symlink_to("x")),
    "way": (lambda host, at: host.realpath(f"{at}/link/.."), lambda at: (at / "link").unlink()),
    "list": (lambda host, at: host.listdir(at), lambda at: (at / "new").touch()),
    "no list": (lambda host, at: host.listdir(f"{at}/absent"), lambda at: (at / "absent").mkdir()),
    "modes": (lambda host, at: host.modes(at), lambda at: (at / "file").chmod(0o600)),
    "read": (lambda host, at: host.read(f"{at}/file", 9), lambda at: (at / "file").write_text("other")),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_asked_again(name: str, tmp_path: Path) -> None:
    """A fact holds until its answer changes, and never after that."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    ask, change = QUESTIONS[name]
    facts = asked(lambda host: ask(host, str(tmp_path)))
    assert answers.hold(facts.to_bytes(), facts.salt)
    change(tmp_path)
    assert not answers.hold(facts.to_bytes(), facts.salt)


def _exchange(at: Path) -> None:
    """Another directory with the same names, one of them with another mode."""
    (at / "folder").rename(at / "away")
    (at / "folder").mkdir()
    for name in ("file", "sub", "link"):
        (at / "folder" / name).symlink_to("x") if name == "link" else (at / "folder" / name).mkdir()


def _link_becomes_file(at: Path) -> None:
    (at / "other").touch(0o600)
    (at / "other").rename(at / "folder" / "link")


IN_A_FOLDER: dict[str, Callable[[Path], object]] = {
    "new name": lambda at: (at / "folder" / "new").touch(),
    "name gone": lambda at: (at / "folder" / "sub").rmdir(),
    "other name": lambda at: (at / "folder" / "file").rename(at / "folder" / "renamed"),
    "folder gone": lambda at: (at / "folder").rename(at / "away"),
    "mode of a file": lambda at: (at / "folder" / "file").chmod(0o600),
    "mode of a folder": lambda at: (at / "folder" / "sub").chmod(0o700),
    "other folder": _exchange,
    "link that becomes a file": _link_becomes_file,
}
MODES_ONLY = ("mode of a file", "mode of a folder", "other folder", "link that becomes a file")


def _folder_of_old(at: Path, *kinds: str) -> Facts:
    """The facts about a folder whose names changed too long ago to be taken for new."""
    (at / "folder" / "sub").mkdir(parents=True)
    (at / "folder" / "file").touch()
    (at / "folder" / "link").symlink_to("x")
    facts = Facts()
    facts.latest = time.time_ns()
    need(any(facts.stamp(str(at / "folder"))), "the file system does not tell changes")
    for kind in kinds:
        getattr(Recorder(facts), kind)(str(at / "folder"))
    # Two changes within a tick of the clock that stamps files look like one.
    stamped, tick = (at / "folder").stat().st_ctime_ns, at / "tick"
    tick.touch()
    while tick.stat().st_ctime_ns <= stamped:
        time.sleep(0.001)
        tick.touch()
    return facts


@pytest.mark.parametrize("kind", ["listdir", "modes"])
@pytest.mark.parametrize("name", IN_A_FOLDER)
def test_a_folder_that_need_not_be_listed(name: str, kind: str, tmp_path: Path) -> None:
    """A directory that is as it was is not listed again, and no change in it goes unseen."""
    facts = _folder_of_old(tmp_path, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "listdir", None)
        assert answers.hold(facts.to_bytes(), facts.salt)
    IN_A_FOLDER[name](tmp_path)
    assert answers.hold(facts.to_bytes(), facts.salt) == (kind == "listdir" and name in MODES_ONLY)


def test_a_folder_with_the_same_names_again(tmp_path: Path) -> None:
    """What came and went changes no plan."""
    facts = _folder_of_old(tmp_path, "listdir", "modes")
    (tmp_path / "folder" / "new").touch()
    assert not answers.hold(facts.to_bytes(), facts.salt)
    (tmp_path / "folder" / "new").unlink()
    assert answers.hold(facts.to_bytes(), facts.salt)


def test_folders_that_are_listed_each_time(tmp_path: Path) -> None:
    """Those that changed a moment ago, and those of file systems that do not tell."""
    assert Facts().stamp(str(tmp_path)) == answers.NO_STAMP
    for path in ("/proc/self/ns", "/sys", str(tmp_path / "absent")):
        assert Facts().stamp(path) == answers.NO_STAMP


def test_what_lstat_tells_is_not_asked_twice(tmp_path: Path) -> None:
    """Fewer facts hold and fail the same."""
    (tmp_path / "file").write_text("x")
    path = str(tmp_path / "file")
    facts = asked(lambda host: (host.realpath(path), host.stat(path), host.lstat(path)))
    many, few = len(facts.known), facts.to_bytes().count(os.fsencode(path) + b"\0")
    assert many > few == 1
    (tmp_path / "other").rename(path) if (tmp_path / "other").exists() else (tmp_path / "file").unlink()
    assert not answers.hold(facts.to_bytes(), facts.salt)


def test_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is a fact that nobody can read, with another salt each time."""
    monkeypatch.setenv("SHOWN", "value-of-it")
    facts, other = (asked(lambda host: (host.environ.get("SHOWN"), host.environ.get("NONE"))) for _ in range(2))
    assert b"value" not in facts.to_bytes()
    assert facts.to_bytes() != other.to_bytes()
    assert answers.hold(facts.to_bytes(), facts.salt)
    monkeypatch.setenv("NONE", "")
    assert not answers.hold(facts.to_bytes(), facts.salt)


def test_descriptors() -> None:
    """What a plan may depend on of a descriptor: not which pipe it is, but whether a socket can be connected anew."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = ours.fileno()
        facts = asked(lambda host: (host.fd_stat(fd), host.fd_socket(fd), host.fd_unix_free(fd), host.fd_device(fd)))
        assert answers.hold(facts.to_bytes(), facts.salt)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as free:
            os.dup2(free.fileno(), fd)
        assert not answers.hold(facts.to_bytes(), facts.salt)
        with open("/dev/null", "rb") as null:
            os.dup2(null.fileno(), fd)
        assert Recorder(Facts()).fd_stat(fd) == (Stat(stat.S_IFIFO, 0, 0, 0, 0, 0), os.O_RDONLY)


@pytest.mark.parametrize("path", ["/proc/self/status", "/proc/1/stat", "/proc/thread-self", "/dev/fd/0"])
def test_what_differs_in_each_process_is_refused(path: str) -> None:
    """A path that means another file next time is no fact."""
    facts = Facts()
    Recorder(facts).realpath(path)
    Recorder(facts).lstat(path)
    assert facts.refusal or path == "/proc/thread-self"


def test_two_answers_are_refused(tmp_path: Path) -> None:
    """What changed while the plan was made may be in it with both answers."""
    facts = Facts()
    host = Recorder(facts)
    host.lstat(str(tmp_path / "x"))
    (tmp_path / "x").touch()
    host.lstat(str(tmp_path / "x"))
    assert "changed meanwhile" in facts.refusal


def test_the_kernel_and_mounts() -> None:
    """The facts about the kernel and this process hold as long as it is the same."""
    facts = asked(lambda host: (host.mounts(), host.rlimit(7), host.account(os.geteuid())))
    facts.add_kernel()
    facts.add_own_namespaces()
    assert answers.hold(facts.to_bytes(), facts.salt)
    for size in range(1, 60):
        assert not answers.hold(facts.to_bytes()[:-size], facts.salt)


def test_every_question_is_recorded() -> None:
    """A question of Host that Recorder did not know would be part of a plan and of no fact."""
    in_the_key = {"cwd", "uid", "gid", "launcher"}
    questions = {name for name in vars(Host) if not name.startswith("_")}
    assert questions - in_the_key <= set(vars(Recorder))
