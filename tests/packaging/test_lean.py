"""What a launch that nothing is known of yet pays for: the modules that it imports and the programs that it starts.

The numbers are ceilings. One that is passed asks for a reason, not for a higher number.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.packaging.installing import build, environment
from tests.support import CHECKOUT, PATH, landlock_abi, need_landlock, need_program

if TYPE_CHECKING:
    from pathlib import Path

NEVER = {
    *("argparse", "ast", "asyncio", "click", "concurrent", "dataclasses", "email", "importlib.metadata"),
    *("importlib.resources", "inspect", "json", "landlock", "logging", "multiprocessing", "pathlib", "pkgutil"),
    *("platform", "runpy", "shutil", "socket", "ssl", "subprocess", "sysconfig", "tempfile", "threading", "tomllib"),
    *("traceback", "unittest", "urllib", "zipfile", "dns", "site", "sitecustomize", "gettext", "ctypes"),
    *("collections", "contextlib", "datetime", "enum", "fnmatch", "functools", "importlib", "re", "tomli", "typing"),
    *("warnings", "weakref"),
}
"""No launch has use for any of these."""
COMPILES = {"pyseccomp", "sandrun.primitives.seccomp_compile"}
"""Nor for these, where a built-in profile's filter is known: on this architecture, and with kernels this new."""
KNOWN_MACHINE, KNOWN_ABI = "x86_64", 6
NOT_ENTRY = {"_ctypes", "pyseccomp", "warnings"}
"""Nor is one of these imported before sandrun's own command line is."""
MOST = {"native": 120, "python": 131}
"""All modules of a launch, by executor, those of the interpreter's own start among them."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed program with its packages beside it, as pip leaves them."""
    need_program("cc")
    place = tmp_path_factory.mktemp("lean")
    environment(place, build(tmp_path_factory.mktemp("dist"), "--wheel", SANDRUN_NATIVE="require"), copy=True)
    return place / "bin" / "sandrun"


@pytest.mark.parametrize("kilobytes", [1, 8])
def test_no_module_is_cut_short(program: Path, tmp_path: Path, kilobytes: int) -> None:
    """Where files may not grow, no bytecode is written that later launches could not read."""
    need_landlock(1)
    python = [program.with_name("python"), "-IS", program.with_name("sandrun-python")]
    (package,) = program.parent.parent.glob("lib/python*/site-packages/sandrun")
    for folder in list(package.rglob("__pycache__")):
        shutil.rmtree(folder)
    for limit in (f"ulimit -f {2 * kilobytes}; ", ""):
        call = ["sh", "-c", limit + 'exec "$@"', "sh", *python, "-q", "-p", "strict", "--", "true"]
        done = subprocess.run(call, env=variables(tmp_path, "python"), check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert list(package.rglob("libc.*.pyc"))


def variables(place: Path, executor: str = "") -> dict[str, str]:
    """An environment without a cache."""
    found = {"PATH": PATH, "HOME": str(place / "home"), "SANDRUN_CACHE": "off"}
    return found | ({"SANDRUN_EXECUTOR": executor} if executor else {})


def imported(program: Path, place: Path, *words: str, executor: str = "") -> list[str]:
    """The modules that a launch imports, each when its import has ended."""
    script = program.with_name("sandrun-python")
    python = program.with_name("python")
    call = [python, "-IS", "-X", "importtime", script, *words]
    work = place / "work"
    work.mkdir(exist_ok=True)
    done = subprocess.run(call, capture_output=True, text=True, env=variables(place, executor), cwd=work)
    assert done.returncode == 0, done.stderr[-2000:]
    return re.findall(r"^import time: *\d+ \| *\d+ \| *(\S+)$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("executor", ["native", "python"])
@pytest.mark.parametrize("profile", ["strict", "default"])
def test_a_launch_imports_only_what_it_needs(program: Path, tmp_path: Path, executor: str, profile: str) -> None:
    """No module that it could do without, and not more than there are today."""
    need_landlock(1)
    names = imported(program, tmp_path, "-q", "-p", profile, "--", "true", executor=executor)
    assert not NEVER & set(names)
    assert not COMPILES & set(names) or os.uname().machine != KNOWN_MACHINE or landlock_abi() < KNOWN_ABI
    assert len(names) <= MOST[executor], sorted(names)


def test_the_entry_imports_next_to_nothing(program: Path, tmp_path: Path) -> None:
    """What is imported before the command line: no `re`, which the script that pip writes for an entry point begins with."""
    names = imported(program, tmp_path, "--version")
    before = names[: names.index("sandrun.__main__")]
    assert not (NEVER | NOT_ENTRY) & set(before)
    assert len(before) < 35, before


@pytest.mark.parametrize("executor", ["", "python"])
def test_no_program_is_started_but_those_of_the_launch(program: Path, tmp_path: Path, executor: str) -> None:
    """No ldconfig, compiler or linker, by which ctypes looks for a library: the front, Python, the executor, the command."""
    need_program("strace")
    need_landlock(1)
    trace = tmp_path / "trace"
    # A signal of another process would cut the line of a call in two.
    looked = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=execve", "-e", "signal=none"]
    words = [*looked, program, "-q", "-p", "strict", "--", "true"]
    subprocess.run(words, check=True, env=variables(tmp_path, executor), cwd=tmp_path, capture_output=True)
    lines = [line for line in trace.read_text().splitlines() if line.endswith("= 0")]
    started = [re.search(r'execve\("[^"]*?([^/"]+)"', line)[1] for line in lines]  # type: ignore[index]
    native = [] if executor == "python" else ["sandrun-exec"]
    assert started == ["sandrun", "python", *native, "true"]


def test_an_editable_install_does_without_site(tmp_path: Path) -> None:
    """What hatchling writes for it says where the package is; a directory that holds none is no such place."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    packages = tmp_path / "lib" / f"python{version}" / "site-packages"
    packages.mkdir(parents=True)
    script = tmp_path / "bin" / "sandrun-python"
    script.parent.mkdir()
    script.write_bytes((CHECKOUT / "tools/sandrun-python").read_bytes())
    for where, starts in ((CHECKOUT, True), (tmp_path, False)):
        (packages / "_sandrun.pth").write_text(f"{where}\n")
        call = [sys.executable, "-IS", "-X", "importtime", script, "--version"]
        done = subprocess.run(call, capture_output=True, text=True, env={"PATH": PATH}, cwd=tmp_path)
        assert (" site\n" not in done.stderr) == starts
        if starts:
            assert (done.returncode, done.stdout[:8]) == (0, "sandrun ")
