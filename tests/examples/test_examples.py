"""Each example does what its README shows, from a copy of what a clone has, as root and as an ordinary user."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ci.runner import is_executable
from tests.docs.documents import commands, fenced, links, matches
from tests.support import CHECKOUT, PATH, need, need_program, need_userns

if TYPE_CHECKING:
    from tests.support import Who

HERE = CHECKOUT / "examples"
EXAMPLES = sorted(path.parent.name for path in HERE.glob("*/README.md"))
OTHERS = frozenset({"__pycache__"})
NEEDED: dict[str, tuple[str, ...]] = {}
"""What the machine has to have for an example, beyond what sandrun needs."""


@pytest.fixture
def clone(who: Who, box: Path) -> Path:
    """The parts of a clone that the examples use, which belong to somebody else than who runs them."""
    made = box / "clone"
    made.mkdir()
    for name in ("ci", "examples"):
        shutil.copytree(CHECKOUT / name, made / name, ignore=shutil.ignore_patterns(*OTHERS))
    return made


def installed(who: Who) -> dict[str, str]:
    """The environment of somebody who has activated the virtual environment of this session."""
    place = Path(sys.executable).parent
    env = {**who.env, "PATH": f"{place}:{PATH}"}
    need((place / "sandrun").exists(), f"sandrun is installed in {place}")
    if who.run(["python3", "-I", "-c", "import sandrun"], env=env).returncode:
        pytest.skip(f"{who.name} cannot read the installation in {place}")
    return env


def test_every_example_is_listed() -> None:
    """The list in examples/README.md has every directory."""
    listed = (HERE / "README.md").read_text()
    directories = {path.name for path in HERE.iterdir() if path.is_dir()} - OTHERS
    assert {name for name in directories if f"]({name}/README.md) |" in listed} == directories == set(EXAMPLES)


@pytest.mark.parametrize("page", [HERE / "README.md", *(HERE / name / "README.md" for name in EXAMPLES)], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """What the pages link to is in the checkout."""
    assert [link for link in links(page) if not (page.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example(name: str, who: Who, clone: Path) -> None:
    """The one command of its README prints what the README shows, ends with 0, and leaves nothing."""
    check(name, who, clone)


@pytest.mark.parametrize("name", ["ci-job", "web-and-writer"])
def test_an_example_without_namespaces(name: str, who: Who, clone: Path) -> None:
    """Landlock and seccomp are enough for it."""
    need_userns()
    if who.is_root:
        pytest.skip("root needs no user namespace")
    check(name, who, clone, need_program("bwrap"), "--unshare-user", "--disable-userns", "--dev-bind", "/", "/")


def header(name: str, size: int, *, mode: int = 0o644, field: bytes = b"") -> bytes:
    """A header of tar(5); `field` is written for the size instead."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    raw = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    raw[124:136] = field or raw[124:136]
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


PLANTED = header("planted", 2, mode=0o4755) + b"hi".ljust(512, b"\0")


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (header("a", 1024) + PLANTED, ""),
        (header("a", 1024, field=b"00000_02000\0") + PLANTED, "a: a header that others may read otherwise"),
        (header("a", 0) + bytes(512) + PLANTED, "something behind its end"),
        (b"", "no tar: empty file"),
    ],
)
def test_an_archive_means_one_thing(archive: bytes, why: str) -> None:
    """What the validator of archives takes for content no other reader takes for a member."""
    check_tar = [sys.executable, "-I", "-S", HERE / "untrusted-archive/check.py"]
    done = subprocess.run(check_tar, input=archive + bytes(1024) * bool(archive), capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode().replace("'", "").strip()) == (int(bool(why)), why)


def check(name: str, who: Who, clone: Path, *inside: str) -> None:
    """Run the example of this name, and compare."""
    for program in NEEDED.get(name, ()):
        need(shutil.which(program, path=PATH), f"the program {program} is not installed")
    env = installed(who)
    sessions = [line for block in fenced(HERE / name / "README.md", "console") for line in commands(block)]
    assert [session.words for session in sessions] == [f"examples/{name}/run"], "one command, without make"
    assert is_executable(HERE / name / "run")
    done = who.run([*inside, "bash", "-c", sessions[0].words], env=env, cwd=clone, timeout=120)
    said = "".join(f"{line.rstrip()}\n" for line in (done.stdout + done.stderr).splitlines())
    assert matches(sessions[0].output, said), f"{said}\nREADME:\n{sessions[0].output}"
    assert done.returncode == 0, said


def test_the_makefile_of_the_job(who: Who, clone: Path) -> None:
    """make runs the same suite, each line under sandrun."""
    env = {**installed(who), "DEPLOY_TOKEN": "hunter2"}
    done = who.run([need_program("make"), "-C", clone / "examples" / "ci-job"], env=env)
    assert done.returncode == 0, done.stderr
    assert "a token of the job: none" in done.stdout
    assert "a socket: no" in done.stdout
