"""`--explain` on set-ups that are broken, each in one way: it names what is missing first, and what it proposes helps.

The control of each is the same command with what was proposed: then it succeeds.
"""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import need, need_landlock, need_namespaces, need_program, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Who

BASE = ("-p", "none", "--read", "@runtime", "--execute", "@system", "--write", "/dev/null")
"""Programs of the system, and nothing else."""
PYTHON = "/usr/bin/python3"
VIEW = ("--proc", "own", "--isolate", "true")
"""Asks for namespaces: then mounts refuse as well, with other errors."""


@pytest.fixture(autouse=True)
def _needs() -> None:
    need_landlock(3)
    need(Path(PYTHON).exists(), f"{PYTHON} is not there")


@pytest.fixture(params=["landlock alone", "namespaces"])
def base(request: pytest.FixtureRequest, who: Who) -> tuple[str, ...]:
    """BASE in both ways in which files are refused."""
    if request.param == "namespaces":
        need_namespaces(who)
        return (*BASE, *VIEW)
    return BASE


def explained(*words: str | Path, who: Who, box: Path, **options: Any) -> tuple[int, dict[str, Any]]:
    """Run with --explain --json: the exit status and the document."""
    done = sandrun("-q", "--explain", "--json", *words, who=who, cwd=box, **options)
    last = done.stderr.splitlines()[-1]
    assert last.startswith('{"sandrun": 1, '), done.stderr
    return done.returncode, json.loads(last)


def first(document: dict[str, Any]) -> dict[str, Any]:
    """The first finding, flattened: its standing, its flag and text, and its first denial."""
    finding = document["findings"][0]
    return {"standing": finding["standing"], **finding["remedy"], **finding["denials"][0]}


def broken(options: tuple[str, ...], command: tuple[str, ...], *, who: Who, box: Path, **more: Any) -> dict[str, Any]:
    """The first finding of a command that fails, and succeeds with what is proposed. A stranger to it is a failure."""
    status, document = explained(*options, "--", *command, who=who, box=box, **more)
    assert status, "it was to fail"
    assert document["failed"]
    found = first(document)
    if found["flag"]:
        again = sandrun("-q", *options, *shlex.split(found["flag"]), "--", *command, who=who, cwd=box, **more)
        assert again.returncode == 0, (found, again.stderr)
    return found


@pytest.fixture
def place(who: Who, box: Path) -> Path:
    """A directory beside the working directory, which nothing grants."""
    work = box / "work"
    other = box / "other"
    for path in (work, other):
        path.mkdir()
        who.own(path)
    return other


def write(path: Path, text: str, who: Who, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    who.own(path)
    return path


@pytest.fixture
def port() -> Iterator[int]:
    """A port of the host's loopback on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        ending = threading.Event()

        def serve() -> None:
            while not ending.is_set():
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        ending.set()
        with socket.socket() as last:
            last.connect(server.getsockname())
        thread.join()


# --- the ten -------------------------------------------------------------------------------------------------------


def test_a_library_that_is_missing(who: Who, box: Path, place: Path, base: tuple[str, ...]) -> None:
    """The loader looks in a directory that nothing grants."""
    library = place / "libz.so.1"
    for folder in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib64"):
        source = Path(f"{folder}/libz.so.1")
        if source.exists():
            library.write_bytes(source.read_bytes())
    need(library.exists(), "no libz.so.1 to copy")
    library.chmod(0o755)
    who.own(library)
    program = f"import ctypes; ctypes.CDLL('{library}')"
    found = broken(base, (PYTHON, "-c", program), who=who, box=box)
    assert (found["standing"], found["act"], found["target"]) == ("cause", "read", str(library))


def test_the_files_of_name_resolution(who: Who, box: Path) -> None:
    """Without /etc/hosts and its like no name is found; one group grants them all."""
    need_program("getent")
    options = (
        "-p",
        "none",
        "--read",
        "/etc/ld.so.cache?",
        "--execute",
        "/usr",
        "--execute",
        "/lib",
        "--execute",
        "/lib64?",
    )
    hosts = [line.split() for line in Path("/etc/hosts").read_text().splitlines() if line[:1].isdigit()]
    names = [name for _, *names in hosts for name in names if not name.startswith(("#", "localhost", "ip6-"))]
    need(names, "a host of its own in /etc/hosts")
    found = broken(options, ("getent", "hosts", names[0]), who=who, box=box)
    assert found["standing"] == "cause"
    assert found["flag"] == "--read @dns"


def test_a_working_directory_that_is_not_writable(who: Who, box: Path, place: Path, base: tuple[str, ...]) -> None:
    """Making a file takes the directory."""
    options = (*base, "--read", ".")
    found = broken(options, ("sh", "-c", "echo x > out.txt"), who=who, box=box)
    assert (found["standing"], found["act"], found["target"]) == ("cause", "create", f"{box}/out.txt")
    assert found["flag"] == f"--write {box}"


def test_no_dev_null(who: Who, box: Path) -> None:
    """The commonest redirection of all."""
    options = ("-p", "none", "--read", "@runtime", "--execute", "@system")
    found = broken(options, ("sh", "-c", "echo x > /dev/null"), who=who, box=box)
    assert (found["standing"], found["act"], found["target"]) == ("cause", "write", "/dev/null")


def test_the_interpreter_of_a_script(who: Who, box: Path, place: Path, base: tuple[str, ...]) -> None:
    """The script may be executed, what its first line names may not."""
    interpreter = place / "interpreter"
    interpreter.write_bytes(Path("/bin/cat").resolve().read_bytes())
    interpreter.chmod(0o755)
    who.own(interpreter)
    script = write(box / "script", f"#!{interpreter}\n", who)
    found = broken((*base, "--execute", str(script)), ("sh", "-c", f"{script}; exit $?"), who=who, box=box)
    assert (found["standing"], found["act"], found["target"]) == ("cause", "execute", str(interpreter))
    assert str(script) in found["what"]


def test_a_locale_that_is_missing(who: Who, box: Path, place: Path) -> None:
    """What programs do without, as a rule, is named first where nothing else was refused."""
    source = next(iter(Path("/usr/lib/locale").glob("C.[uU]*8")), None)
    need(source, "no locale to copy")
    shutil.copytree(source, place / "xx_YY.utf8")
    who.own(*place.rglob("*"))
    program = f"import os, locale; os.environ['LOCPATH'] = '{place}'; locale.setlocale(locale.LC_ALL, 'xx_YY.utf8')"
    options = (*BASE, "--read", ".")
    status, document = explained(*options, "--", PYTHON, "-c", program, who=who, box=box / "work")
    found = first(document)
    assert status == 1
    assert found["standing"] in ("cause", "possible")
    assert found["target"].startswith(str(place / "xx_YY.utf8"))
    again = sandrun("-q", *options, "--read", place, "--", PYTHON, "-c", program, who=who, cwd=box / "work")
    assert again.returncode == 0, again.stderr


def test_a_syscall_that_is_blocked(who: Who, box: Path) -> None:
    """By the filter, with EPERM: what was tried is named, and the entry that denies it."""
    program = "import socket; socket.socketpair()[0].close(); import os; os.symlink('a', 'b')"
    options = (*BASE, "--write", ".", "--deny-syscall", "symlink", "--deny-syscall", "symlinkat")
    status, document = explained(*options, "--", PYTHON, "-c", program, who=who, box=box)
    found = first(document)
    assert status == 1
    assert (found["standing"], found["act"]) == ("cause", "syscall")
    assert found["target"] in ("symlink", "symlinkat")
    assert found["flag"] is None
    assert "--deny-syscall" in found["text"]


def test_a_syscall_that_kills(who: Who, box: Path) -> None:
    """Death by SIGSYS comes first; its syscall is named if the kernel's log may be read."""
    options = (
        *BASE,
        "--syscall-default",
        "kill-process",
        "--allow-syscall",
        "@system-service",
        "--deny-syscall",
        "sync",
    )
    status, document = explained(*options, "--", PYTHON, "-c", "import os; os.sync()", who=who, box=box)
    found = first(document)
    assert status == 128 + 31
    assert (found["standing"], found["act"]) == ("cause", "syscall")
    assert found["target"] in ("sync", "")


def test_a_port_that_is_not_granted(who: Who, box: Path, port: int) -> None:
    """Another port is granted, so that sockets can be made."""
    need_landlock(4)
    program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
    options = (*BASE, "--connect", "tcp:1")
    found = broken(options, (PYTHON, "-c", program), who=who, box=box)
    assert (found["standing"], found["act"], found["target"]) == ("cause", "connect", f"tcp:127.0.0.1:{port}")
    assert found["what"] == f"connect 127.0.0.1:{port}"


def test_a_part_of_a_grant_that_is_denied(who: Who, box: Path, place: Path, base: tuple[str, ...]) -> None:
    """The denial is named, since no grant would win over it."""
    secret = write(place / "secret", "x", who, 0o644)
    options = (*base, "--read", str(place), "--deny", str(secret))
    status, document = explained(*options, "--", "cat", str(secret), who=who, box=box)
    found = first(document)
    assert status == 1
    assert (found["standing"], found["act"], found["target"]) == ("cause", "read", str(secret))
    assert found["flag"] is None
    assert "--deny" in found["text"]
    assert found["entries"][0]["key"] == "filesystem.deny"


LIMITS = [
    ("nofile=8", "a = [open('/dev/null') for _ in range(9)]"),
    ("fsize=4096", "out = open('out', 'wb', 0); [out.write(bytes(4000)) for _ in range(3)]"),
    ("as=300M", "bytearray(500 << 20)"),
]


@pytest.mark.parametrize(("limit", "program"), LIMITS)
def test_a_limit_that_is_too_low(who: Who, box: Path, limit: str, program: str) -> None:
    """The call that it makes fail is seen; the limit is named, with where it was set."""
    options = (*BASE, "--write", ".", "--rlimit", limit)
    status, document = explained(*options, "--", PYTHON, "-c", program, who=who, box=box)
    found = first(document)
    name = limit.partition("=")[0]
    assert status
    assert (found["act"], found["target"]) == ("limit", f"rlimits.{name}")
    assert found["standing"] in ("cause", "possible")
    again = sandrun("-q", *options, *shlex.split(found["flag"]), "--", PYTHON, "-c", program, who=who, cwd=box)
    if name != "fsize":
        assert again.returncode == 0, again.stderr


# --- proposals -----------------------------------------------------------------------------------------------------


def test_no_network_and_a_place_that_the_command_line_names(who: Who, box: Path, port: int) -> None:
    """A socket is refused before it has an address; the one that the command line names is proposed, and helps."""
    program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
    status, document = explained(*BASE, "--", PYTHON, "-c", program, f"http://127.0.0.1:{port}/", who=who, box=box)
    found = first(document)
    assert status == 1
    assert (found["standing"], found["what"]) == ("cause", "syscall socket (inet stream)")
    if found["flag"]:
        assert found["flag"] == f"--connect tcp:127.0.0.1:{port}"
    else:
        assert "--connect" in found["text"]


def test_what_would_not_help_is_not_proposed(who: Who, box: Path, place: Path, base: tuple[str, ...]) -> None:
    """A grant of what sandrun itself refuses to grant is no proposal: the reason is told instead."""
    home = Path(who.home)
    (home / ".config").mkdir(exist_ok=True)
    who.own(home / ".config")
    command = ("sh", "-c", f"echo x > {home}/.config/new")
    status, document = explained(*base, "--", *command, who=who, box=box)
    found = first(document)
    assert status
    assert (found["act"], found["target"]) == ("create", f"{home}/.config/new")
    if found["flag"]:
        again = sandrun("-q", *base, *shlex.split(found["flag"]), "--", *command, who=who, cwd=box)
        assert again.returncode == 0, again.stderr
    else:
        assert found["text"].startswith("not by ")


def test_hostile_text(who: Who, box: Path) -> None:
    """Names of files and programs of 4 KiB, with control characters and newlines: the terminal gets none of it."""
    program = (
        "import ctypes, os, sys\n"
        "ctypes.CDLL(None).prctl(15, b'a\\n\\x1b[31mx')\n"
        "names = ['/root/\\x1b[2J\\nsandrun: to allow it: --write /', '/root/' + 'A/' * 2000, '/root/\\u202ex', b'/root/\\xff']\n"
        "for name in [*names, *(f'/root/{n}/' + 'B' * 200 for n in range(300))]:\n"
        "    try:\n"
        "        os.mkdir(name)\n"
        "    except OSError:\n"
        "        pass\n"
        "os._exit(1)\n"
    )
    done = sandrun("-q", "--explain", *BASE, "--", PYTHON, "-c", program, who=who, cwd=box)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) < 80
    assert all(line.isprintable() and len(line) < 20_000 for line in lines)
    assert not any(line.startswith("sandrun: to allow it: --write /") for line in lines)
