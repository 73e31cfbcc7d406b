"""`sandrun.call` and `@sandboxed`: a function runs confined, and its value or exception is here."""

from __future__ import annotations

import functools
import os
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

import sandrun
from sandrun.library import call_errors, interpreter, sent
from tests.library import honest
from tests.support import CHECKOUT, a_directory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who


def test_value() -> None:
    """Arguments go there, and each kind of plain value comes back."""
    point = honest.Point(3, 4)
    assert sandrun.call(honest.move, point) == 4
    assert sandrun.call(honest.same, 1, "a", kwargs={"b": (1,)}) == [1, "a", {"b": (1,)}]
    assert sandrun.call(functools.partial(honest.same, 1), 2) == [1, 2, {}]
    assert sandrun.call(honest.plain) == honest.PLAIN
    assert sandrun.call(honest.pid) != os.getpid()
    assert sandrun.call(max, [1, 3, 2]) == 3


def test_confinement(tmp_path: Path) -> None:
    """By default there is no file, no network, no variable and no descriptor but what the worker needs."""
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    with pytest.raises(PermissionError):
        sandrun.call(honest.read, str(secret))
    with pytest.raises(PermissionError):
        sandrun.call(honest.write, str(tmp_path / "new"))
    with pytest.raises(PermissionError):
        sandrun.call(honest.write, honest.__file__)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(OSError, match=r"Permission|Operation|unreach"),
    ):
        sandrun.call(honest.connect, server.getsockname()[1])
    assert "PATH" not in sandrun.call(honest.environment)
    assert sandrun.call(honest.descriptors) == [0, 1, 2, 3]
    assert sandrun.call(honest.standard_input) == ""
    assert os.listdir(tmp_path) == ["secret"]


def test_profile_and_overrides(tmp_path: Path) -> None:
    """Profiles and keys are those of `sandrun.run`, on top of what the interpreter needs."""
    file = tmp_path / "file"
    file.write_text("text")
    assert sandrun.call(honest.read, str(file), read=[str(file)]) == "text"
    assert sandrun.call(honest.read, str(file), read=str(file)) == "text"
    profile = {"schema": 1, "extends": "strict", "filesystem": {"read": [str(tmp_path)]}}
    assert sandrun.call(honest.read, str(file), profile=profile) == "text"
    assert sandrun.call(honest.start, "echo", "here", profile="default") == "here\n"
    with pytest.raises(sandrun.SandrunError, match="nonexistent"):
        sandrun.call(honest.pid, profile="nonexistent")


def test_standard_input_is_not_to_be_had() -> None:
    """A worker is spoken to there: who gives another one is told what to do instead, and nothing is started."""
    with pytest.raises(TypeError, match="stdin: hand the function its input"):
        sandrun.call(honest.pid, stdin=subprocess.DEVNULL)
    with sandrun.SandboxExecutor(1, stdin=subprocess.DEVNULL) as executor, pytest.raises(sandrun.UsageError):
        executor.submit(honest.pid).result()


def test_output(capfd: pytest.CaptureFixture[str]) -> None:
    """What the function prints goes where the caller's output goes, before the value is there."""
    sandrun.call(honest.say, "hello")
    assert capfd.readouterr() == ("hello\n", "hello\n")


@pytest.mark.parametrize(
    ("how", "kind", "args"),
    [
        ("value", ValueError, ("bad", 3)),
        ("key", KeyError, ("k",)),
        ("escape", ValueError, ("\\x1b]0;title\\x07\nline",)),
    ],
)
def test_exception(how: str, kind: type[Exception], args: tuple[object, ...]) -> None:
    """A built-in exception is raised as itself, with the traceback of the worker as a note."""
    with pytest.raises(kind) as raised:
        sandrun.call(honest.fail, how)
    assert type(raised.value) is kind
    assert raised.value.args == args
    (note,) = raised.value.__notes__
    assert note.startswith("in the confined worker:\nTraceback (most recent call last):\n")
    assert "honest.py" in note
    assert "in fail\n" in note
    assert "\x1b" not in note


def test_exceptions_with_more() -> None:
    """An OSError keeps its number and file, a UnicodeError its bytes."""
    with pytest.raises(FileNotFoundError) as missing:
        sandrun.call(honest.missing, read=["/nonexistent?"])
    assert (missing.value.errno, missing.value.filename) == (2, "/nonexistent/file")
    with pytest.raises(UnicodeDecodeError) as undecodable:
        sandrun.call(honest.undecodable)
    assert undecodable.value.object == b"\xff"


@pytest.mark.parametrize(
    ("how", "name", "message"),
    [
        ("own", "tests.library.honest.OwnError", "mine"),
        ("stop", "StopIteration", "1"),
        ("exit", "SystemExit", "3"),
        ("interrupt", "KeyboardInterrupt", ""),
        ("syntax", "SyntaxError", "no (passwd, line 1)"),
        ("nested", "ExceptionGroup", "several (1 sub-exception)"),
        ("point", "ValueError", "Point(x=1, y=2)"),
    ],
)
def test_other_exceptions(how: str, name: str, message: str) -> None:
    """What is not on the list, or has arguments that do not travel, becomes a RemoteError that tells of it."""
    with pytest.raises(sandrun.RemoteError) as raised:
        sandrun.call(honest.fail, how)
    assert (raised.value.type_name, raised.value.remote_message) == (name, message)
    assert "in fail\n" in raised.value.traceback


def test_what_cannot_be_sent() -> None:
    """A function without a name of its own, an argument that pickle does not take: the error names it."""

    def inner() -> None:
        """A function inside of another."""

    for function, why in ((lambda: 1, "a lambda has no name"), (inner, "a function inside of another has no name")):
        with pytest.raises(sandrun.SendError, match=why) as raised:
            sandrun.call(function)
        assert "top of a module" in str(raised.value.hint)
    with open(os.devnull) as file, pytest.raises(sandrun.SendError, match=r"argument 2: of type _io.TextIOWrapper"):
        sandrun.call(honest.same, 1, file)
    with pytest.raises(sandrun.SendError, match=r"argument lock: of type _thread.lock"):
        sandrun.call(honest.same, kwargs={"lock": threading.Lock()})
    with pytest.raises(sandrun.SendError, match="cannot be called"):
        sandrun.call(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["point", "pair", "file"])
def test_results_that_cannot_be_sent(what: str) -> None:
    """The error names the type and what to do."""
    with pytest.raises(sandrun.SendError, match=r"cannot send the result: type .*: at result$") as raised:
        sandrun.call(honest.make, what)
    assert "pickle=True" in str(raised.value.hint)


def test_pickled_result_on_demand() -> None:
    """`pickle=True` takes what the wire does not, and says what it cannot pickle."""
    assert sandrun.call(honest.make, "point", pickle=True) == honest.Point(1, 2)
    with pytest.raises(sandrun.SendError, match="more than 100 bytes"):
        sandrun.call(honest.same, "x" * 200, max_size=100)


def test_a_function_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that the worker cannot import is an error with the worker's reason."""
    (tmp_path / "fragile.py").write_text(
        "import os, sys\nif 'pytest' not in sys.modules: raise ImportError('not here')\ndef f(): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import fragile  # type: ignore[import-not-found]

    with pytest.raises(sandrun.SendError, match="cannot load the function or its arguments: ImportError: not here"):
        sandrun.call(fragile.f)


def test_timeout() -> None:
    """A function that takes too long is killed; the error is a TimeoutError."""
    assert sandrun.call(honest.wait, 0, timeout=30) == 0
    with pytest.raises(TimeoutError, match="took too long") as raised:
        sandrun.call(honest.wait, 1000, timeout=1)
    assert isinstance(raised.value, sandrun.CallTimeoutError)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), 1e12])
def test_odd_timeouts(timeout: float) -> None:
    """None at all, and more than the kernel waits."""
    if timeout > 0:
        assert sandrun.call(abs, -1, timeout=timeout) == 1
    else:
        with pytest.raises(sandrun.CallTimeoutError):
            sandrun.call(abs, -1, timeout=timeout)


def test_errors_travel() -> None:
    """The errors themselves can be pickled, as a pool of processes does with what its jobs raise."""
    remote = sandrun.RemoteError("m", type_name="a.B", remote_message="x", traceback="t")
    died = sandrun.WorkerDiedError("m", hint="h", returncode=-9)
    for error in (
        remote,
        died,
        sandrun.CallTimeoutError("m"),
        sandrun.SendError("m", hint="h"),
        sandrun.WireError("m"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), "m", vars(error))


def test_threads_that_never_end() -> None:
    """The worker leaves with its result: it waits for no thread."""
    assert sandrun.call(honest.thread) == "done"


def test_decorator() -> None:
    """Each call runs confined, with what `functools.wraps` gives, and the function itself within reach."""
    a, b, pid = honest.decorated(1, b=2)
    assert (a, b) == (1, 2)
    assert pid != os.getpid()
    assert honest.decorated.__doc__ == "A docstring."
    assert honest.decorated.__wrapped__(1)[2] == os.getpid()  # type: ignore[attr-defined]
    assert sandrun.call(honest.decorated, 1)[2] not in (pid, os.getpid())
    assert honest.factorial(5) == 120


def test_from_many_threads() -> None:
    """Calls of several threads at once."""
    found: list[object] = []
    threads = [threading.Thread(target=lambda n=n: found.append(sandrun.call(honest.same, n)[0])) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == list("01234567")


SCRIPT = """
    import os, sys
    {path}
    import sandrun
    def double(x):
        return [x * 2, __name__]
    @sandrun.sandboxed
    def look(path):
        return os.listdir(path)
    print("imported as", __name__, flush=True)
    if __name__ == "__main__":
        print(sandrun.call(double, 21), flush=True)
        try:
            look(os.path.expanduser("~"))
        except OSError as error:
            print(type(error).__name__)
"""


def test_scripts(who: Who, box: Path) -> None:
    """A function of a script, as root and as an ordinary user; its main part runs once."""
    program = who.sandrun
    path = who.importing
    (box / "script.py").write_text(textwrap.dedent(SCRIPT.replace("{path}", path)))
    done = who.run([program[0], "script.py"], cwd=box)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "imported as __main__",
        "imported as __mp_main__",
        "[42, '__mp_main__']",
        "imported as __mp_main__",
        "PermissionError",
    ]


def test_script_in_a_home(who: Who) -> None:
    """The directory of a script in a home is not opened; the script itself runs."""
    program = who.sandrun
    path = who.importing
    (who.home / "secret").write_text("secret")
    (who.home / "script.py").write_text(textwrap.dedent(SCRIPT.replace("{path}", path)))
    who.own(who.home / "secret")
    done = who.run([program[0], "script.py"], cwd=who.home)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "PermissionError"


def test_interactive_sessions() -> None:
    """`python -c` has no file that a worker could import."""
    code = f"import sys; sys.path.insert(0, {os.getcwd()!r}); import sandrun\ndef f(): ...\nsandrun.call(f)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert "SendError: cannot send the function: f: `__main__` is no file here" in done.stderr


def test_modules_in_shared_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home, what is above it and `/tmp` are not granted because a module lies there; what lies below them can be."""
    with a_directory() as box:
        (box / "alone.py").write_text("def f(): ...\n")
        monkeypatch.syspath_prepend(str(box))
        import alone  # type: ignore[import-not-found]

        assert str(box) in interpreter.grants(function=alone.f)
        monkeypatch.setenv("HOME", str(box))
        assert str(box) not in interpreter.grants()
        with pytest.raises(sandrun.SendError, match=f"may not read {box}"):
            sandrun.call(alone.f)
        for place in ("/", "/tmp", os.path.dirname(box), str(box)):
            assert interpreter.is_too_much(place, [str(box)]), place
        assert not interpreter.is_too_much(f"{box}/project", [str(box)])


def test_names_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function whose name finds another one is not sent."""
    function = honest.pid
    monkeypatch.setattr(honest, "pid", honest.plain)
    with pytest.raises(
        call_errors.SendError, match=r"tests.library.honest.pid: this name is not that function's there"
    ):
        sent.by_name(function)


def test_explain(tmp_path: Path) -> None:
    """With `explain` an exception says what the profile refused, and what would grant it."""
    file = tmp_path / "secret"
    file.write_text("")
    with pytest.raises(PermissionError) as raised:
        sandrun.call(honest.read, str(file), explain=True)
    notes = "\n".join(raised.value.__notes__)
    assert "refused by the profile:\n" in notes
    assert f"--read {file}" in notes


def test_readme(who: Who, box: Path) -> None:
    """The example of the README runs as it stands there."""
    text = (CHECKOUT / "README.md").read_text().partition("\n### Functions\n")[2]
    code = text.partition("```python\n")[2].partition("```")[0]
    program = who.sandrun
    path = who.importing
    (box / "script.py").write_text(f"{path}\n{code}")
    done = who.run([program[0], "script.py"], cwd=box)
    assert done.returncode == 0, done.stderr
    assert "Permission denied: '/etc/hostname'" in done.stdout
    assert "in look\n" in done.stdout
