"""The pytest plugin: bodies that run confined, commands of the fixture, and whole sessions; each in a pytest of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
import tomllib
import types
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from sandrun.testing import covered, reports
from tests.support import CHECKOUT, WHOS, Who, a_directory, a_who, need, need_landlock, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODIES = """
import logging, os, socket, subprocess, time, unittest, warnings
import pytest
import sandrun

strict = pytest.mark.sandbox("strict")

@pytest.fixture
def opened():
    with open("secret") as file:
        yield file

@strict
def test_fixture_is_unconfined(opened):
    print("from the body")
    os.write(2, b"by descriptor\\n")
    opened.read()
    with pytest.raises(PermissionError):
        open("secret")

@strict
def test_introspection():
    found = {"a": [1, 2], "b": "left"}
    logging.getLogger("x").warning("a record")
    assert found == {"a": [1, 3], "b": "left"}

@strict
def test_denied_file():
    open("secret")

@strict
def test_denied_socket():
    socket.socket()

@strict
def test_skipped():
    pytest.skip("for a reason")

@strict
def test_imperative_xfail():
    pytest.xfail("known")

class OwnError(Exception):
    pass

@strict
@pytest.mark.xfail(raises=OwnError, strict=True)
def test_xfail_of_own_type():
    raise OwnError

@strict
def test_told_to_fail():
    pytest.fail("no way")

@strict
def test_warns():
    warnings.warn("careful", DeprecationWarning)

@strict
def test_recwarn(recwarn):
    warnings.warn("kept", UserWarning)
    assert len(recwarn) == 1

@strict
def test_property(record_property):
    record_property("answer", 42)

@pytest.mark.sandbox("strict", timeout="500ms")
def test_hangs():
    time.sleep(60)

@pytest.mark.sandbox("strict", replace=["syscalls.default"], syscall_default="kill-process")
def test_killed():
    open("/tmp/made", "w")

@strict
def test_leaves():
    os._exit(3)

@pytest.mark.sandbox("default")
def test_lingers(tmp_path):
    (tmp_path / "made").write_text("x")
    if not os.fork():
        os.setsid()
        os.execvp("sleep", ["sleep", "1007"])

@strict
def test_replaces(monkeypatch):
    monkeypatch.setattr(os, "_exit", None)
    monkeypatch.setattr(os, "write", None)

@pytest.mark.sandbox("none", read=["."])
def test_environment():
    assert "TOKEN" not in os.environ and "PATH" in os.environ

@pytest.mark.sandbox("default")
def test_private_directories():
    with open(os.environ["TMPDIR"] + "/made", "w") as file:
        file.write(os.environ["HOME"])

@pytest.mark.sandbox("strict", isolate=True)
def test_unsupported():
    pass

@pytest.mark.sandbox(sandrun.Profile("strict").env(BROUGHT="along"))
def test_variables():
    assert os.environ["BROUGHT"] == "along"

def test_variables_stay_inside():
    assert "BROUGHT" not in os.environ

@pytest.mark.sandbox("stric")
def test_misspelt():
    pass

@strict
class TestOfUnittest(unittest.TestCase):
    def test_method(self):
        with self.assertRaises(PermissionError):
            open("secret")

    def test_method_fails(self):
        self.assertEqual(1, 2)

    def test_part_fails(self):
        for n in range(3):
            with self.subTest(n=n):
                self.assertNotEqual(n, 1)

def test_ordinary():
    open("secret").close()
"""
FORGES = """
import json, os
import pytest

def send(data):
    from sandrun.testing.body import Body
    import gc
    writer = next(one for one in gc.get_objects() if type(one) is Body and one.is_confined)._writer
    view = memoryview(data)
    while view:
        view = view[os.write(writer, view[:65536]):]
    os._exit(0)

@pytest.mark.sandbox("strict")
@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100000, b'{"outcome": "passed"}', b"\\x80\\x04N.", b"1" * (33 << 20)],
                         ids=["nothing", "half", "deep", "part", "pickle", "flood"])
def test_forged(data):
    send(data)
"""


ODD = (
    FORGES.partition("@pytest")[0]
    + """
def report(**fields):
    record = {"outcome": "passed", "longrepr": None, "wasxfail": None, "sections": [], "properties": [], "warnings": []}
    return json.dumps({**record, "denied": [], "lines": [], "arcs": [], **fields}).encode()

@pytest.mark.sandbox("strict")
def test_surrogates():
    half = "\\ud800"
    send(report(outcome="failed", longrepr=half, sections=[(half, half)], properties=[("a\\1", half), (half, 1)]))

@pytest.mark.sandbox("strict")
def test_warnings():
    send(report(warnings=[["UserWarning", "w", "nowhere.py", 1]] * 1007))

@pytest.mark.sandbox("default")
def test_channels():
    written = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.readlink(f"/proc/self/fd/{name}").startswith(("pipe:", "socket:")):
                written += os.write(int(name), b"?" + bytes(8))
        except OSError:
            pass
    assert not written

def test_after():
    pass
"""
)
OTHERS = """
import subprocess, threading
import pytest

@pytest.fixture
def other():
    made, go = [], threading.Event()
    def act():
        go.wait()
        made.append(subprocess.Popen(["sleep", "60"]))
    thread = threading.Thread(target=act)
    thread.start()
    yield lambda: (go.set(), thread.join())
    go.set()
    thread.join()
    assert made[0].poll() is None
    made[0].kill()
    made[0].wait()

@pytest.fixture
def meanwhile(monkeypatch, other):
    from sandrun.testing import body
    read = body._read
    monkeypatch.setattr(body, "_read", lambda *given: (other(), read(*given))[1])

@pytest.mark.sandbox("strict")
def test_body(meanwhile):
    pass
"""


def pytest_as(who: Who, box: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in `box` with this plugin and no others but those named."""
    python = who.sandrun[0]
    place = str(CHECKOUT)
    need(
        not who.run(
            [python, "-c", "import sys; sys.path.append(sys.argv[1]); import pytest, sandrun", place]
        ).returncode,
        "pytest cannot be read by this user",
    )
    variables = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": place,
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    cache = [] if "cacheprovider" in words else ["-p", "no:cacheprovider"]
    argv = [python, "-m", "pytest", "-p", "sandrun.pytest_plugin", *cache, *words]
    return who.run(argv, cwd=box, env={**who.env, "COLUMNS": "200", **variables}, timeout=110)


class Said:
    """What a pytest said: the outcome of each test, and the part about each that failed; how long what lingers sleeps."""

    def __init__(self, text: str, seconds: int = 0) -> None:
        self.text = text
        self.seconds = seconds
        self.outcomes = {name: word for word, name in re.findall(r"^([A-Z]+) \S+?::([\w:\[\]-]+)", text, re.M)}
        parts = re.split(r"^_+ ([\w.:\[\]-]+) _+$", text, flags=re.M)
        self.parts = dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module", params=WHOS)
def said(request: pytest.FixtureRequest) -> Iterator[Said]:
    """One session of all bodies, as root and as an ordinary user."""
    need_landlock(1)
    with a_who(request.param) as who, a_directory() as box:
        who.own(box)
        seconds = 100_000 + os.getpid()  # what lingers of another worker's session is none of this one's
        (box / "test_bodies.py").write_text(BODIES.replace("1007", str(seconds)))
        (box / "secret").touch()
        done = pytest_as(who, box, "-rA", "-v", TOKEN="x")
        assert done.returncode == 1, done.stdout + done.stderr
        assert not any(who.tmp.glob("sandrun-*"))
        yield Said(done.stdout, seconds)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "test_fixture_is_unconfined",
            "test_warns",
            "test_recwarn",
            "test_property",
            "test_lingers",
            "test_replaces",
            "test_environment",
        ),
        *("test_private_directories", "TestOfUnittest::test_method", "test_ordinary"),
        *("test_variables", "test_variables_stay_inside"),
    ],
)
def test_passes(said: Said, name: str) -> None:
    """A body that keeps to its profile passes, whatever the kind of test and the fixtures."""
    assert said.outcomes[name] == "PASSED", said.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_introspection", ["Differing items:", "{'a': [1, 2]} != {'a': [1, 3]}", "WARNING  x:test_bodies.py:"]),
        (
            "test_denied_file",
            [">       open(", "PermissionError", "sandbox: denied", "read secret: no entry grants it"],
        ),
        ("test_denied_socket", ["sandbox: denied", "socket.__new__"]),
        ("test_told_to_fail", ["Failed: no way"]),
        ("test_hangs", ["took longer than 0.5s (time.timeout) and was ended"]),
        ("test_killed", ["was killed by SIGSYS, by the seccomp filter", "the last it tried: open('/tmp/made', 'w'"]),
        ("test_leaves", ["ended with status 3 before it had a report"]),
        ("test_unsupported", ["cannot confine the test", "takes a pid namespace", "hint: "]),
        ("test_misspelt", ["no such profile", 'did you mean "strict"']),
        ("TestOfUnittest.test_part_fails", ["(n=1)", "AssertionError: 1 == 1"]),
        ("TestOfUnittest.test_method_fails", ["AssertionError: 1 != 2"]),
    ],
)
def test_fails_clearly(said: Said, name: str, words: list[str]) -> None:
    """A failure says what it says without a sandbox, and what was refused."""
    assert said.outcomes[name.replace(".", "::")] == "FAILED"
    for word in words:
        assert word in said.parts[name], said.parts[name]
    assert "another exception occurred" not in said.parts[name]
    assert "sandrun/testing" not in said.parts[name]


def test_other_outcomes(said: Said) -> None:
    """Skips and expected failures are told as they are, with their places."""
    assert re.search(r"^SKIPPED \[1\] test_bodies.py:\d+: for a reason$", said.text, re.M)
    assert said.outcomes["test_imperative_xfail"] == said.outcomes["test_xfail_of_own_type"] == "XFAIL"


def test_output_and_warnings(said: Said) -> None:
    """What a body wrote, by Python or by descriptor, and its warnings are shown as those of any test."""
    part = said.parts["test_fixture_is_unconfined"]
    assert "from the body" in part
    assert "by descriptor" in part
    assert said.text.count("DeprecationWarning: careful") == 1


def test_nothing_lingers(said: Said) -> None:
    """What a body leaves running ends with it."""
    assert said.outcomes["test_lingers"] == "PASSED"
    running = subprocess.run(["cat /proc/*/cmdline"], shell=True, capture_output=True).stdout
    assert f"sleep\0{said.seconds}\0".encode() not in running


def test_forged_reports(who: Who, box: Path) -> None:
    """What a hostile body sends in the place of its report fails that test, and does nothing else."""
    need_landlock(1)
    (box / "test_forges.py").write_text(FORGES)
    done = pytest_as(who, box, "-rA", "--tb=short")
    outcomes = Said(done.stdout).outcomes
    assert len(outcomes) == 6, done.stdout
    assert set(outcomes.values()) == {"FAILED"}, done.stdout
    for word in ("before it had a report", "is no report", "nested too deep", "shape of a report", "more than 32 MiB"):
        assert word in done.stdout


def test_odd_reports(who: Who, box: Path) -> None:
    """What a hostile body sends breaks no channel of pytest-xdist and no file of results, and it cannot use that channel."""
    need_landlock(1)
    (box / "test_odd.py").write_text(ODD)
    done = pytest_as(who, box, "-p", "xdist", "-n", "1", "-rA", "--junitxml=results.xml")
    said = Said(done.stdout)
    names = ("test_surrogates", "test_warnings", "test_channels", "test_after")
    assert [said.outcomes.get(name) for name in names] == ["FAILED", "PASSED", "FAILED", "PASSED"], done.stdout
    assert "is no report" in said.parts["test_channels"]
    assert "7 more warnings of a confined body are not shown" in done.stdout
    assert len(list(ElementTree.parse(box / "results.xml").iter("testcase"))) == 4


def test_children_of_others_live_on(who: Who, box: Path) -> None:
    """What a thread of pytest starts while the body runs is none of what the body left."""
    need_landlock(1)
    (box / "test_others.py").write_text(OTHERS)
    done = pytest_as(who, box)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


def test_dies_with_pytest(tmp_path: Path) -> None:
    """A body that became another user ends with pytest as well, although the kernel forgets that at the change."""
    need_root()
    need_landlock(1)
    code = "import os, time, pytest\n@pytest.mark.sandbox('default', user='nobody')\ndef test_body():\n"
    code += "    print('pid', os.getpid(), flush=True)\n    time.sleep(60)\n"
    (tmp_path / "test_body.py").write_text(code)
    words = [sys.executable, "-m", "pytest", "-s", "-p", "sandrun.pytest_plugin", "-p", "no:cacheprovider"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(CHECKOUT)}
    with a_directory() as place:  # for the private places, which nobody removes after that signal
        place.chmod(0o1777)
        _dies_with_pytest(words, tmp_path, {**env, "TMPDIR": str(place)})


def _dies_with_pytest(words: list[str], cwd: Path, env: dict[str, str]) -> None:
    with subprocess.Popen(words, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        found = next(filter(None, (re.search(r"pid (\d+)", line) for line in session.stdout)), None)
        assert found, "the body said nothing"
        pidfd = os.pidfd_open(int(found[1]))
        session.kill()
    try:
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        assert ended.poll(60_000)
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def test_several_processes(who: Who, box: Path) -> None:
    """Workers of xdist, which have threads, run confined bodies as well."""
    need_landlock(1)
    (box / "test_one.py").write_text(
        "import pytest\n@pytest.mark.sandbox('strict')\n@pytest.mark.parametrize('n', range(6))\n"
        "def test_n(n):\n    with pytest.raises(OSError):\n        open('test_one.py')\n    assert n != 3, 'three'\n"
    )
    done = pytest_as(who, box, "-p", "xdist", "-n", "2", "-rA")
    assert "1 failed, 5 passed" in done.stdout, done.stdout
    assert "AssertionError: three" in done.stdout


@pytest.mark.parametrize("branch", [[], ["--branch"]])
def test_coverage(tmp_path: Path, branch: list[str]) -> None:
    """What only a confined body reaches counts as covered, and what it does not reach does not."""
    need_landlock(1)
    need(importlib.util.find_spec("coverage"), "coverage is not installed")
    (tmp_path / "things.py").write_text("def f(x):\n    if x:\n        return 1\n    return 2\n")
    body = "import pytest, things\n@pytest.mark.sandbox('strict')\ndef test_f():\n    assert things.f(1)\n"
    (tmp_path / "things_test.py").write_text(body)
    run = [
        sys.executable,
        "-m",
        "coverage",
        "run",
        "--source=.",
        *branch,
        "-m",
        "pytest",
        "-p",
        "sandrun.pytest_plugin",
    ]
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [*run, "-p", "no:cacheprovider", "things_test.py"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = subprocess.run(
        [sys.executable, "-m", "coverage", "report", "-m"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    line = next(line for line in told.stdout.splitlines() if line.startswith("things.py"))
    assert line.split()[-1] == "4", told.stdout


def test_fixture(who: Who, box: Path) -> None:
    """The fixture runs commands with a profile, in the test's own directory, which they may write."""
    need_landlock(1)
    (box / "test_commands.py").write_text(
        "def test_run(sandbox, tmp_path):\n"
        "    done = sandbox.run(['sh', '-c', 'echo x > made; echo x > ../other; cat /etc/shadow'], capture_output=True, text=True)\n"
        "    assert (tmp_path / 'made').read_text() == 'x\\n'\n"
        "    assert 'denied' in done.stderr and done.returncode == 1, done\n"
        "    assert not (tmp_path.parent / 'other').exists()\n"
        "def test_popen(sandbox):\n"
        "    with sandbox.Popen(['cat'], stdin=-1, stdout=-1) as process:\n"
        "        assert process.communicate(b'x')[0] == b'x'\n"
    )
    done = pytest_as(who, box)
    assert "2 passed" in done.stdout, done.stdout


SESSION = """
import os, pathlib, socket, pytest
HERE = pathlib.Path(__file__).parent

def test_writes(tmp_path):
    (tmp_path / "made").write_text("x")
    with pytest.raises(OSError):
        (HERE / "made").write_text("x")

def test_network():
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", 9), timeout=1)

def test_home():
    assert not os.path.exists(os.environ["REAL_HOME"] + "/secret")
"""


@pytest.mark.parametrize("words", [(), ("-p", "xdist", "-n", "2")])
def test_session(who: Who, box: Path, words: tuple[str, ...]) -> None:
    """Under --sandbox everything is confined, the conftest too: temporary directories are written, hosts not reached."""
    need_landlock(1)
    (who.home / "secret").write_text("x")
    conftest = (
        "import pathlib\ntry:\n    pathlib.Path(__file__).with_name('by-conftest').touch()\nexcept OSError:\n    pass\n"
    )
    (box / "conftest.py").write_text(conftest)
    (box / "test_session.py").write_text(SESSION.replace('os.environ["REAL_HOME"]', repr(str(who.home))))
    done = pytest_as(who, box, "--sandbox=python", "--junitxml=out.xml", *words)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert "sandbox: the session is confined by python" in done.stdout
    assert sorted(path.name for path in box.iterdir()) == ["conftest.py", "out.xml", "test_session.py"]
    assert 'tests="3"' in (box / "out.xml").read_text()


def test_session_says_what_was_denied(who: Who, box: Path) -> None:
    """A failure in a confined session names what was refused, and how to ask why."""
    need_landlock(1)
    (box / "test_session.py").write_text(
        "import socket\ndef test():\n    open('new', 'w')\ndef test_net():\n    socket.socket()\n"
    )
    done = pytest_as(who, box, "--sandbox=python")
    assert "2 failed" in done.stdout
    assert re.search(r"^write new: [A-Z]+: ask sandrun why -p python write new$", done.stdout, re.M), done.stdout
    assert re.search(r"^socket.__new__.*the session is confined by python$", done.stdout, re.M), done.stdout


def test_session_is_not_believed(who: Who, box: Path) -> None:
    """The variable that marks a confined session does not make one."""
    (box / "test_session.py").write_text("def test(): pass\n")
    done = pytest_as(who, box, "--sandbox=python", SANDRUN_PYTEST="python")
    assert done.returncode == 4
    assert "the session is not confined" in done.stderr


def test_session_within_a_session(who: Who, box: Path) -> None:
    """A session that is started by a confined one is not taken for confined by another profile, which it is not."""
    need_landlock(1)
    (box / "inner").mkdir()
    (box / "inner" / "test_inner.py").write_text(
        "import socket, pytest\ndef test():\n    pytest.raises(OSError, socket.socket, socket.AF_UNIX)\n"
    )
    (box / "test_session.py").write_text(
        "import socket, subprocess, sys\ndef test():\n    socket.socket(socket.AF_UNIX).close()\n"
        "    words = [sys.executable, '-m', 'pytest', '-p', 'sandrun.pytest_plugin', '-p', 'no:cacheprovider', 'inner']\n"
        "    same = subprocess.run([*words, '--sandbox=python'], capture_output=True, text=True)\n"
        "    assert 'confined by python' in same.stdout and same.returncode == 1\n"
        "    other = subprocess.run([*words, '--sandbox=strict'], capture_output=True, text=True)\n"
        "    assert 'confined by strict' not in other.stdout or not other.returncode, other.stdout\n"
    )
    (box / "pytest.ini").write_text("[pytest]\nsandbox_options = --unix=@all\n")
    done = pytest_as(who, box, "--sandbox=python", "test_session.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_session_is_not_measured_from_outside(tmp_path: Path) -> None:
    """A measurement that would end with the process, and nobody would miss, is an error."""
    need(importlib.util.find_spec("coverage"), "coverage is not installed")
    (tmp_path / "test_session.py").write_text("def test(): pass\n")
    run = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-p", "sandrun.pytest_plugin", "--sandbox=python"]
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 4
    assert "--cov of pytest-cov" in done.stderr


def test_session_has_its_cache_elsewhere(who: Who, box: Path) -> None:
    """pytest's cache does not come into the project, and settings are strict as ever."""
    need_landlock(1)
    (box / "pytest.ini").write_text("[pytest]\naddopts = --strict-config\nfilterwarnings = error\n")
    for words in (("-p", "cacheprovider"), ()):
        (box / "test_session.py").write_text("def test():\n    pass\n")
        done = pytest_as(who, box, "--sandbox=python", *words)
        assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert sorted(path.name for path in box.iterdir()) == ["pytest.ini", "test_session.py"]


def test_session_of_no_profile(who: Who, box: Path) -> None:
    """A session that cannot be confined does not run."""
    (box / "test_session.py").write_text("def test(): pass\n")
    done = pytest_as(who, box, "--sandbox=pyton")
    assert done.returncode == 125
    assert 'did you mean "python"' in done.stderr
    assert "passed" not in done.stdout


def test_entry_point() -> None:
    """pytest finds the plugin where sandrun is installed."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"sandrun": "sandrun.pytest_plugin"}
    assert not any(word.startswith("pytest") for word in project["dependencies"])


def test_plugin_is_light() -> None:
    """What every session pays for having sandrun installed is one small module."""
    code = "import sys, pytest; sys.path.append(sys.argv[1]); import sandrun.pytest_plugin; print(*(n for n in sys.modules if n.startswith('sandrun')))"
    done = subprocess.run([sys.executable, "-c", code, str(CHECKOUT)], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"sandrun", "sandrun.errors", "sandrun.pytest_plugin"}


@pytest.mark.parametrize("data", [b'{"broken": ["x"]}', b'{"ended": "exit", "reason": "x"}'])
def test_other_records(data: bytes) -> None:
    """What is no report, but may be sent."""
    assert reports.decode(data)


REPORT: dict[str, Any] = {
    "outcome": "passed",
    "longrepr": None,
    "wasxfail": None,
    "sections": [],
    "properties": [],
    "warnings": [],
    "denied": [],
    "lines": [],
    "arcs": [],
}


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "skipped"},
        {"outcome": "skipped", "longrepr": "no place"},
        {"outcome": "failed"},
        {"outcome": "failed", "longrepr": ["file", 1, "a skip"]},
        {"outcome": "passed", "longrepr": "text"},
        {"outcome": "failed", "longrepr": "text", "wasxfail": "reason"},
        {"outcome": "rerun"},
        {"sections": [["one"]]},
        {"properties": [["name", []]]},
        {"more": 1},
    ],
)
def test_reports_that_pytest_would_fall_over(change: dict[str, Any]) -> None:
    """An outcome comes with what pytest takes for granted with it, or is refused."""
    assert reports.decode(json.dumps(REPORT).encode())
    with pytest.raises(reports.Malformed):
        reports.decode(json.dumps(REPORT | change).encode())


def test_forged_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is said to be covered only lines of sources count: neither a pipe, on which a report would wait, nor a
    number for which coverage.py would fill the memory."""
    added: dict[str, set[int]] = {}
    data = types.SimpleNamespace(add_lines=added.update)
    monkeypatch.setattr(covered, "_current", lambda: types.SimpleNamespace(get_data=lambda: data))
    source, pipe = tmp_path / "a.py", tmp_path / "b.py"
    source.touch()
    os.mkfifo(pipe)
    covered.merge(
        {"lines": [[str(source), [1, 10**12]], [str(pipe), [1]], ["/etc/shadow", [1]], ["\0.py", [1]]], "arcs": []}
    )
    assert added == {str(source): {1}}


@pytest.mark.parametrize("data", [b'{"broken": [1]}', b'{"ended": "never", "reason": ""}', b"null", b"\xff", b"1e999"])
def test_malformed_records(data: bytes) -> None:
    """Whatever else is sent is refused."""
    with pytest.raises(reports.Malformed):
        reports.decode(data)
