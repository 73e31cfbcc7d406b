"""What is shipped works where it is installed: the wheel, in an environment that has nothing else of the checkout."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.packaging.installing import build, checked, environment
from tests.support import CHECKOUT, PATH, need_landlock

if TYPE_CHECKING:
    from pathlib import Path

SHARED = {
    "share/man/man1/sandrun.1": "man/sandrun.1",
    "share/man/man3/sandrun.3": "man/sandrun.3",
    "share/man/man5/sandrun-profile.5": "man/sandrun-profile.5",
    "share/bash-completion/completions/sandrun": "completions/sandrun.bash",
    "share/zsh/site-functions/_sandrun": "completions/_sandrun",
    "share/fish/vendor_completions.d/sandrun.fish": "completions/sandrun.fish",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source distribution, and the wheel that was built from it."""
    place = tmp_path_factory.mktemp("dist")
    build(place)
    return place


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel alone."""
    place = tmp_path_factory.mktemp("installed")
    (wheel,) = built.glob("*.whl")
    environment(place, wheel)
    return place


def run(installed: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed program, with nothing of the checkout in reach."""
    env = {"PATH": PATH, "HOME": str(cwd), "LANG": "C.UTF-8", "SANDRUN_CACHE": str(cwd / "cache")}
    return subprocess.run([installed / "bin" / "sandrun", *words], capture_output=True, text=True, env=env, cwd=cwd)


def test_wheel_holds_everything(built: Path) -> None:
    """Every module, profile, man page, completion and the licence; nothing else."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        data = next(name.partition("/")[0] for name in names if ".data/" in name)
        info = data.replace(".data", ".dist-info")
        for target, source in SHARED.items():
            assert archive.read(f"{data}/data/{target}") == (CHECKOUT / source).read_bytes()
    expected = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "sandrun").rglob("*.py")}
    expected |= {f"sandrun/profiles/{path.name}" for path in (CHECKOUT / "profiles").iterdir()} | {"sandrun/py.typed"}
    expected |= {"sandrun/__init__.pyi"}
    expected |= {f"{data}/data/{target}" for target in SHARED}
    expected |= {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    expected |= {"sandrun/native/sandrun-exec", f"{info.removesuffix('.dist-info')}.data/scripts/sandrun"}
    expected |= {f"{info.removesuffix('.dist-info')}.data/scripts/sandrun-python"}
    assert names == expected


def test_metadata(built: Path) -> None:
    """The version is the program's, and the six packages are required."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(name).decode()
    required = {line.split(":")[1].split()[0] for line in text.splitlines() if line.startswith("Requires-Dist:")}
    names = {requirement.partition("=")[0].partition("<")[0].partition(">")[0] for requirement in required}
    assert names == {"click", "dnspython", "tomli", "landlock", "pyseccomp", "python-prctl"}
    assert "License-Expression: Apache-2.0" in text
    assert f"Version: {importlib.import_module('sandrun').__version__}" in text


def test_source_distribution_is_complete(built: Path) -> None:
    """The wheel was built from it; it also holds the documents, and nothing that the checkout only made."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", "man/sandrun.1", "profiles/default.toml"} <= names
    sources = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "sandrun" / "native").glob("*.[ch]")}
    assert sources | {"tools/build_native.py", "tools/hatch_build.py", "tools/sandrun-python"} <= names
    assert "sandrun/native/sandrun-exec" not in names
    assert not any(".venv" in name or "__pycache__" in name for name in names)


def test_installed_program_runs(installed: Path, tmp_path: Path) -> None:
    """From another directory: the version, the built-in profiles and a launch."""
    shown = run(installed, "--version", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    listed = run(installed, "profile", "list", "--names", cwd=tmp_path)
    assert listed.stdout.split() == sorted(path.stem for path in (CHECKOUT / "profiles").glob("*.toml"))
    planned = run(installed, "--dry-run", "--json", "-p", "strict", "--", "true", cwd=tmp_path)
    assert json.loads(planned.stdout)["profile"]["name"] == "strict"
    need_landlock(1)
    assert run(installed, "-q", "-p", "strict", "--", "sh", "-c", "exit 7", cwd=tmp_path).returncode == 7


def test_programs_in_python_launch_from_there(installed: Path, tmp_path: Path) -> None:
    """The library of an installed package starts what was installed with it, whatever PATH and the environment say."""
    code = "import sandrun; print(sandrun.run(['/bin/echo', 'x'], profile='strict', stdout=-1).stdout)"
    for variables in ({}, {"PYTHONPATH": "/nowhere", "PYTHONHOME": ""}, {"SANDRUN_EXECUTOR": "python"}):
        env = {"PATH": "/nowhere", "HOME": str(tmp_path), **variables}
        done = checked(installed / "bin" / "python", "-c", code, env=env, cwd=tmp_path)
        assert done == "b'x\\n'\n"


def test_shared_files_are_installed(installed: Path) -> None:
    """Man pages and completions lie where their readers look, below the prefix."""
    for target in SHARED:
        assert (installed / target).is_file()
    assert os.access(installed / "bin" / "sandrun", os.X_OK)
