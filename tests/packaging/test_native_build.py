"""The native program: how it is built, what the wheel makes of it, and that it finds its Python however it was installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.installing import LIBRARIES, OFFLINE, PIP, build, checked, environment, sources
from tests.support import CHECKOUT, PATH, need, need_landlock, need_program, need_root

BUILD = CHECKOUT / "tools" / "build_native.py"
SYSTEM_PYTHON = Path("/usr/bin/python3")
LAUNCH = ("-q", "-p", "strict", "--", "sh", "-c", "exit 7")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this platform."""
    need_program("cc")
    return build(tmp_path_factory.mktemp("native"), "--wheel", SANDRUN_NATIVE="require")


@pytest.fixture(scope="module")
def sanitized(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment whose native program is one with the sanitizers."""
    place = tmp_path_factory.mktemp("sanitized")
    environment(place, wheel)
    made = subprocess.run([BUILD, "--sanitize", place / "bin" / "sandrun"], capture_output=True, text=True)
    need(made.returncode == 0 or "san" not in made.stderr, "a C compiler with sanitizers")
    assert made.returncode == 0, made.stderr
    (copy,) = place.glob("lib/python3*/site-packages/sandrun/native/sandrun-exec")
    shutil.copy(place / "bin" / "sandrun", copy)
    return place


def outcome(program: Path, cwd: Path, *words: str, **variables: str) -> tuple[int, str]:
    """Run an installed program in `cwd` with next to no environment; its status and all that it prints."""
    env = {"PATH": PATH, "HOME": str(cwd), "SANDRUN_CACHE": str(cwd / "cache"), **variables}
    done = subprocess.run([program, *words], capture_output=True, text=True, env=env, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


# --- the compiler ---------------------------------------------------------------------------------------------------


def test_no_warning_and_nothing_for_the_static_analysis(tmp_path: Path) -> None:
    """Every warning is an error, and GCC's -fanalyzer finds nothing."""
    need_program("cc")
    checked(BUILD, "--strict", tmp_path / "sandrun-exec")


def test_the_same_bytes_again(tmp_path: Path) -> None:
    """From another directory, at another time: what is built depends on the sources and the compiler alone."""
    need_program("cc")
    copy = sources(tmp_path / "copy")
    checked(BUILD, tmp_path / "one")
    checked(copy / "tools" / "build_native.py", tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_program_is_hardened(tmp_path: Path) -> None:
    """No executable stack, no segment to write and execute, position independent, relocations read-only."""
    need_program("cc")
    need_program("readelf")
    checked(BUILD, tmp_path / "program")
    headers = checked("readelf", "-Wlh", tmp_path / "program")
    assert "DYN (" in headers
    assert "GNU_RELRO" in headers
    segments = [line.split() for line in headers.splitlines() if line.split()[:1] in (["LOAD"], ["GNU_STACK"])]
    assert len(segments) > 3
    assert not [words for words in segments if ("W" in words[6:-1] and "E" in words[6:-1]) or "RWE" in words]
    assert str(CHECKOUT).encode() not in (tmp_path / "program").read_bytes()


def test_no_compiler(tmp_path: Path) -> None:
    """Status 3, and nothing is left."""
    done = subprocess.run(
        [sys.executable, BUILD, tmp_path / "program"], env={"PATH": PATH, "CC": "/no/such/cc"}, capture_output=True
    )
    assert done.returncode == 3
    assert not list(tmp_path.iterdir())


# --- the wheels -----------------------------------------------------------------------------------------------------


def test_platform_wheel(wheel: Path) -> None:
    """Named for its platform and for any Python 3, with the program twice; what is executed is marked executable."""
    assert "-py3-none-" in wheel.name
    assert "-any" not in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        programs = [info for info in archive.infolist() if info.filename.endswith(("/sandrun", "/sandrun-exec"))]
        programs = [info for info in programs if "share" not in info.filename]
        assert [bool(info.external_attr >> 16 & 0o111) for info in programs] == [True, True]
        assert archive.read(programs[0]) == archive.read(programs[1])
        (metadata,) = [name for name in archive.namelist() if name.endswith("/WHEEL")]
        assert "Root-Is-Purelib: false" in archive.read(metadata).decode()


def test_wheel_with_a_dynamic_program(tmp_path: Path) -> None:
    """Where the toolchain has no static libc the program has the system's, and the name of the wheel promises no other."""
    need_program("cc")
    script = tmp_path / "cc"
    script.write_text('#!/bin/sh\ncase "$*" in *-static-pie*) exit 1 ;; esac\nexec cc "$@"\n')
    script.chmod(0o755)
    made = build(tmp_path / "dist", "--wheel", CC=str(script), SANDRUN_NATIVE="require")
    assert made.name.endswith(f"-py3-none-linux_{os.uname().machine}.whl")
    environment(tmp_path / "place", made)
    works(tmp_path / "place" / "bin" / "sandrun", tmp_path)


@pytest.mark.parametrize(
    "variables",
    [{"CC": "/no/such/cc", "SANDRUN_NATIVE": "auto"}, {"SANDRUN_NATIVE": "off"}],
    ids=["no-compiler", "off"],
)
def test_wheel_without_the_native_program(variables: dict[str, str], tmp_path: Path) -> None:
    """It is for any system, has nothing native even if the checkout has, and works: the executor in Python serves."""
    made = build(tmp_path / "dist", "--wheel", **variables)
    assert made.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(made) as archive:
        assert not [name for name in archive.namelist() if "sandrun-exec" in name or "sandrun-python" in name]
    environment(tmp_path / "place", made)
    program = tmp_path / "place" / "bin" / "sandrun"
    assert outcome(program, tmp_path, "--version") == outcome(CHECKOUT / ".venv/bin/sandrun", tmp_path, "--version")
    need_landlock(1)
    assert outcome(program, tmp_path, *LAUNCH) == (7, "")
    status, text = outcome(program, tmp_path, *LAUNCH, SANDRUN_EXECUTOR="native")
    assert status == 125
    assert "native" in text


def test_required_and_impossible(tmp_path: Path) -> None:
    """A build that must have the native program fails without a compiler."""
    made = tmp_path / "dist"
    made.mkdir()
    words = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", made, sources(tmp_path / "copy")]
    env = {**os.environ, "CC": "/no/such/cc", "SANDRUN_NATIVE": "require"}
    assert subprocess.run(words, env=env, capture_output=True).returncode
    assert not list(made.iterdir())


# --- installed ------------------------------------------------------------------------------------------------------


def works(program: Path, cwd: Path, **variables: str) -> None:
    """The version, which takes Python; a launch; one again, which the cache may serve; a launch by the native executor."""
    shown = checked(sys.executable, "-I", "-m", "sandrun", "--version")
    assert outcome(program, cwd, "--version", **variables) == (0, shown)
    need_landlock(1)
    for _ in range(2):
        assert outcome(program, cwd, *LAUNCH, **variables) == (7, "")
    assert outcome(program, cwd, *LAUNCH, SANDRUN_EXECUTOR="native", **variables) == (7, "")


def test_in_a_virtual_environment(wheel: Path, tmp_path: Path) -> None:
    """Also by a link from elsewhere, as pipx makes them; after uninstalling nothing is left."""
    place = tmp_path / "with blanks" / "place"
    environment(place, wheel)
    works(place / "bin" / "sandrun", tmp_path)
    (tmp_path / "linked").symlink_to(place / "bin" / "sandrun")
    works(tmp_path / "linked", tmp_path)
    checked(*PIP, "--python", place / "bin" / "python", "uninstall", "--quiet", "--yes", "sandrun")
    assert not [path for path in place.rglob("*sandrun*") if path.name != "__pycache__"]


@pytest.mark.parametrize(
    "words",
    [
        ("-p", "strict", "--", "true"),
        ("-p", "default", "--", "sh", "-c", "kill -TERM $$"),
        ("-p", "none", "--no-isolate", "--tmp", "private", "--", "sh", "-c", "echo x >$TMPDIR/x; sleep 9 & exit 3"),
        ("-p", "default", "--timeout", "0.2", "--", "sleep", "60"),
        ("-p", "strict", "--report", "report", "--", "sh", "-c", "exit 7"),
        ("-p", "none", "--syscalls", "promise:stdio", "--", "/no/such/command"),
    ],
    ids=["strict", "signal", "private", "timeout", "report", "no-command"],
)
def test_launches_under_the_sanitizers(sanitized: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    """The program built with the address and undefined behaviour sanitizers ends like the other, and says nothing more."""
    need_landlock(1)
    program = sanitized / "bin" / "sandrun"
    # Leaks are no error: the process ends by executing or with its memory. A leak check needs ptrace(2), too.
    own = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    expected = outcome(program, tmp_path, *words, SANDRUN_EXECUTOR="python")
    for _ in range(2):
        assert outcome(program, tmp_path, *words, **own) == expected


def test_for_one_user(wheel: Path, tmp_path: Path) -> None:
    """`pip install --user`: the interpreter's own directory has no sandrun, and an isolated one leaves it out."""
    need(SYSTEM_PYTHON.exists(), "a Python of the system")
    for variables in ({}, {"PYTHONUSERBASE": str(tmp_path / "elsewhere")}):
        env = {**os.environ, "HOME": str(tmp_path), **variables}
        checked(SYSTEM_PYTHON, *PIP[1:], "install", *OFFLINE, "--user", "--break-system-packages", wheel, env=env)
        base = Path(variables.get("PYTHONUSERBASE", tmp_path / ".local"))
        (packages,) = (base / "lib").glob("python3*/site-packages")
        (packages / "libraries.pth").write_text(LIBRARIES)
        works(base / "bin" / "sandrun", tmp_path, **variables)


def test_for_the_system(wheel: Path, tmp_path: Path) -> None:
    """The program is in /usr/local/bin, its interpreter in /usr/bin. In a mount namespace, with a new /usr/local."""
    need_root()
    need_program("unshare")
    need(SYSTEM_PYTHON.exists(), "a Python of the system")
    script = f"""
        mount -t tmpfs tmpfs /usr/local
        {SYSTEM_PYTHON} {" ".join(PIP[1:])} install {" ".join(OFFLINE)} --break-system-packages {wheel} 2>&1
        echo {LIBRARIES} >"$({SYSTEM_PYTHON} -c 'import sandrun; print(*sandrun.__path__)')/../libraries.pth"
        test "$(command -v sandrun)" = /usr/local/bin/sandrun
        sandrun --version
        status=0
        sandrun {" ".join(LAUNCH[:-1])} 'exit 7' || status=$?
        exit $status
    """
    env = {"PATH": PATH, "HOME": str(tmp_path), "SANDRUN_CACHE": "off"}
    words = ["unshare", "--mount", "sh", "-euc", script]
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 7, done.stdout + done.stderr


def test_an_editable_install(tmp_path: Path) -> None:
    """`pip install -e .`: the program is the native one, and the modules are those of the checkout."""
    need_program("cc")
    copy = sources(tmp_path / "checkout")
    (copy / "sandrun" / "native" / "sandrun-exec").unlink(missing_ok=True)
    place = tmp_path / "place"
    checked(sys.executable, "-m", "venv", "--without-pip", place)
    (packages,) = (place / "lib").glob("python3*/site-packages")
    (packages / "libraries.pth").write_text(LIBRARIES)
    # The back end runs in the session's interpreter, which has it.
    made = tmp_path / "made"
    made.mkdir()
    code = "import sys, hatchling.build; hatchling.build.build_editable(sys.argv[1])"
    checked(sys.executable, "-c", code, made, cwd=copy)
    (editable,) = made.iterdir()
    checked(*PIP, "--python", place / "bin" / "python", "install", *OFFLINE, editable)
    works(place / "bin" / "sandrun", tmp_path)
    found = checked(place / "bin" / "python", "-I", "-c", "import sandrun; print(sandrun.__file__)")
    assert found.strip() == str(copy / "sandrun" / "__init__.py")
    assert (copy / "sandrun" / "native" / "sandrun-exec").exists()


@pytest.mark.parametrize("line", ["#!/bin/sh", "#!{python} -E", "#!/usr/bin/env {name}"])
def test_a_script_that_was_started_another_way(wheel: Path, tmp_path: Path, line: str) -> None:
    """An installer that cannot write the interpreter's plain path (too long, blanks) writes a wrapper. It is executed."""
    environment(tmp_path / "place", wheel)
    script = tmp_path / "place" / "bin" / "sandrun-python"
    python = tmp_path / "place" / "bin" / "python"
    text = script.read_text().partition("\n")[2]
    if "sh" in line:
        text = f"'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n{text}"
    script.write_text(line.format(python=python, name="python3") + "\n" + text)
    path = f"{python.parent}:{PATH}"
    assert outcome(tmp_path / "place" / "bin" / "sandrun", tmp_path, "--version", PATH=path)[0] == 0


def test_alone(wheel: Path, tmp_path: Path) -> None:
    """A copy of the program without its package says what is missing."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/scripts/sandrun")]
        (tmp_path / "sandrun").write_bytes(archive.read(name))
    (tmp_path / "sandrun").chmod(0o755)
    status, text = outcome(tmp_path / "sandrun", tmp_path, "--version")
    assert status == 125
    assert text.startswith("sandrun: cannot start Python by sandrun-python next to this program")


def test_what_the_current_directory_holds_is_not_imported(wheel: Path, tmp_path: Path) -> None:
    """Neither from the current directory nor through PYTHONPATH, where an empty entry means it."""
    environment(tmp_path / "place", wheel)
    for name in ("click", "sandrun", "sitecustomize", "usercustomize", "tomli", "os"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)")
    program = tmp_path / "place" / "bin" / "sandrun"
    for variables in ({}, {"PYTHONPATH": ""}, {"PYTHONPATH": f":{tmp_path}"}, {"PYTHONSTARTUP": "os.py"}):
        assert outcome(program, tmp_path, "--version", **variables)[0] == 0
