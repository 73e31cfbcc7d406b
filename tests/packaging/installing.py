"""Building and installing, for the tests: no network, and no package but the one that is built."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import CHECKOUT, UNFINISHED

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
OFFLINE = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation")
PACKAGES = ("click", "dnspython", "landlock", "pyseccomp", "python-prctl", "tomli")
LIBRARIES = str(importlib.metadata.distribution("click").locate_file(""))
"""Where the packages are that sandrun requires; what is installed finds them by a .pth file."""


def checked(*words: str | Path, **options: object) -> str:
    """What a program that has to succeed prints."""
    done = subprocess.run(words, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return str(done.stdout)


def sources(place: Path) -> Path:
    """A copy of what is built, at `place`: a build writes into its own tree, where other tests would find its program."""
    for name in ("sandrun", "profiles", "tools", "man", "completions"):
        shutil.copytree(CHECKOUT / name, place / name, ignore=UNFINISHED)
    for name in (".gitignore", "pyproject.toml", "LICENSE", *(path.name for path in CHECKOUT.glob("*.md"))):
        shutil.copy(CHECKOUT / name, place)
    return place


def build(place: Path, *kind: str, **variables: str) -> Path:
    """Build with these variables in the environment, as `python -m build` does; the wheel, which is put into `place`."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "build", "--no-isolation", *kind, "--outdir", place, sources(Path(folder))]
        checked(*words, env={**os.environ, **variables})
    (wheel,) = place.glob("*.whl")
    return wheel


def environment(place: Path, wheel: Path, *, copy: bool = False) -> None:
    """Make a virtual environment at `place` with `wheel`; `copy` puts the required packages into it, too."""
    checked(sys.executable, "-m", "venv", "--without-pip", place)
    checked(*PIP, "--python", place / "bin" / "python", "install", *OFFLINE, wheel)
    (packages,) = (place / "lib").glob("python3*/site-packages")
    if not copy:
        (packages / "libraries.pth").write_text(LIBRARIES)
        return
    for name in PACKAGES:
        for part in importlib.metadata.files(name) or ():
            if part.parts[0] != "..":
                (packages / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(part.locate(), packages / part)
