"""The outside half of an escape attempt: what it is set up against, and how it is run."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import support
from tests.probes import inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

_BOOT = """
import sys, types
inside = types.ModuleType("tests.probes.inside")
exec(compile({inside!r}, "inside", "exec"), inside.__dict__)
sys.modules["tests.probes.inside"] = inside
attempt = types.ModuleType("attempt")
exec(compile({attempt!r}, "attempt", "exec"), attempt.__dict__)
inside.judge(attempt.attempt, sys.argv[1:], {refusals!r})
"""
# The control has a parent of the same user too, as the sandboxed command has its supervisor.
_PARENT = ("/bin/sh", "-c", '"$@"; exit $?', "parent")
# A session leader gets the first terminal that it opens as its controlling one (credentials(7)).
_ON_TERMINAL = ("/bin/sh", "-c", 'exec "$@" <"$0" >"$0"')
BARE = ("-p", "none", "-x", "@system", "-w", "{work}")


@dataclass
class Outside:
    """What one run of an attempt finds: a directory `box` with the working directory `work`, and what setup adds."""

    who: support.Who
    box: Path
    exit: contextlib.ExitStack
    arguments: list[str | Path | int] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)
    """What the attempt's flags may name in braces."""
    options: dict[str, Any] = field(default_factory=dict)
    """How the process is started, beyond what `Who.popen` does by itself."""
    kept: Any = None
    """What setup leaves for `unharmed`."""
    sandboxed: bool = False
    """Whether sandrun is asked to block it, for `watch` and `unharmed`: in the control they need not wait for an end."""
    status: int = 0
    """How the run ended, for `unharmed`."""
    output: str = ""

    @property
    def work(self) -> Path:
        """The working directory, which the default profile can write."""
        return self.box / "work"

    def file(self, path: Path, text: str = inside.SECRET, mode: int = 0o600) -> Path:
        """A file of `who` (a secret unless told otherwise), with the directories above it."""
        self.directory(path.parent)
        path.write_text(text)
        path.chmod(mode)
        self.who.own(path)
        return path

    def secret(self) -> Path:
        """A secret of `who` outside the working directory."""
        return self.file(self.box / "outside" / "secret")

    def directory(self, path: Path) -> Path:
        """A directory of `who`, with those above it."""
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        self.who.own(*missing)
        return path

    def root(self) -> None:
        """A root directory with the system's programs shown in it: the flags {root} and {profile}."""
        top = self.directory(self.box / "root")
        shown = []
        for name in ("usr", "bin", "lib", "lib64"):
            there = Path("/", name)
            if there.is_symlink():
                (top / name).symlink_to(there.readlink())
            elif there.is_dir():
                self.directory(top / name)
                shown.append(f'{{path = "/{name}", access = ["read_file", "read_dir", "execute"], at = "/{name}"}}')
        for name in ("proc", "tmp", "work"):
            self.directory(top / name)
        profile = self.box / "root.toml"
        self.file(profile, f"schema = 1\n[filesystem]\nrules = [{', '.join(shown)}]\n", 0o644)
        self.values.update(root=top, profile=profile)

    def keep(self, resource: contextlib.AbstractContextManager[Any]) -> Any:
        """Keep this open until the run has been judged."""
        return self.exit.enter_context(resource)

    def victim(self, *, who: support.Who | None = None, **options: Any) -> subprocess.Popen[Any]:
        """A process of `who` that is none of the command's business; ended after the run."""
        victim = (who or self.who).popen(("sleep", "60"), **options)

        def end() -> None:
            victim.kill()
            victim.wait()

        self.exit.callback(end)
        # Before its execve the child is still a copy of this process, with this process's secrets and user.
        assert wait_until(lambda: Path(f"/proc/{victim.pid}/cmdline").read_bytes().startswith(b"sleep"))
        return victim

    def pipe(self) -> tuple[int, int]:
        """Both ends of a pipe, closed after the run."""
        ends = os.pipe()
        for end in ends:
            self.exit.callback(os.close, end)
        return ends

    def inherit(self, fd: int) -> None:
        """The program gets this descriptor under its own number."""
        self.options["pass_fds"] = (*self.options.get("pass_fds", ()), fd)

    def listen(self, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
        """A socket on a free port of the loopback interface, listening if it can."""
        server = self.keep(socket.socket(family, kind, protocol))
        server.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        return server  # type: ignore[no-any-return]

    def terminal(self) -> int:
        """The program's controlling terminal, on its descriptors 0 and 1; returns the master's descriptor."""
        master, slave = os.openpty()
        self.exit.callback(os.close, master)
        self.exit.callback(os.close, slave)
        os.set_blocking(master, False)
        if os.geteuid() == 0:
            os.fchown(slave, self.who.uid, self.who.gid)
        self.options["terminal"] = os.ttyname(slave)
        return master

    def alive(self) -> dict[int, str]:
        """The processes that the attempt wrote to the file `pid` in the working directory and that live.

        It writes them as they are numbered in its own pid namespace.
        """
        theirs = (self.work / "pid").read_text().split()
        ours = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return {pid: "of the attempt" for pid in ours if self._is_own(pid, theirs) and is_alive(pid)}

    def _is_own(self, pid: int, numbers: Sequence[str]) -> bool:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            number = next(line.split()[-1] for line in lines if line.startswith("NSpid:"))
            thread = os.listdir(f"/proc/{pid}/task")[-1]  # the first one may have ended alone
            return number in numbers and os.readlink(f"/proc/{pid}/task/{thread}/cwd") == str(self.work)
        except (OSError, StopIteration, IndexError):  # gone meanwhile, perhaps with no thread left to be listed
            return False

    def none_alive(self) -> bool:
        """Whether none of these live; ends them if they do, which only the control may need."""
        left = self.alive()
        support.kill_all(left)
        return not left


def wait_until(condition: Any, seconds: float = 20) -> bool:
    """Wait until it holds, at most so long; the answer is whether it does."""
    end = time.monotonic() + seconds
    while not (held := bool(condition())) and time.monotonic() < end:
        time.sleep(0.01)
    return held


def is_quiet(server: socket.socket) -> bool:
    """Nothing has come in at this socket."""
    server.settimeout(0.05)
    try:
        if server.type == socket.SOCK_STREAM:
            server.accept()[0].close()
        else:
            server.recv(1000)
    except TimeoutError:
        return True
    return False


def is_alive(pid: int) -> bool:
    """Any thread of the process still runs; one whose first thread alone has ended only looks like a zombie."""
    try:
        threads = [Path(f"/proc/{pid}/task/{thread}/stat").read_text() for thread in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(line.rpartition(") ")[2][0] not in "ZX" for line in threads)


@contextlib.contextmanager
def prepared(module: ModuleType, who: support.Who) -> Iterator[Outside]:
    """A fresh box, set up for this attempt and cleared away with all that setup started."""
    with contextlib.ExitStack() as stack:
        box = stack.enter_context(support.a_directory())
        who.own(box)
        out = Outside(who, box, stack)
        out.directory(out.work)
        out.values.update(box=box, work=out.work, home=who.home, python=python())
        if hasattr(module, "setup"):
            module.setup(out)
        yield out


def run(module: ModuleType, out: Outside, prefix: Sequence[str]) -> None:
    """Run the attempt as a child of `prefix`'s program; the end of it is left in `out`."""
    code = _BOOT.format(
        inside=Path(inside.__file__).read_text(),
        attempt=Path(str(module.__file__)).read_text(),
        refusals=(*inside.REFUSALS, *getattr(module, "REFUSALS", ())),
    )
    shell = ("/bin/sh", "-c", module.SHELL, "sh") if hasattr(module, "SHELL") else ()
    argv = [
        *getattr(module, "PREFIX", ()),
        *prefix,
        *shell,
        python(),
        "-I",
        "-S",
        "-B",
        "-c",
        code,
        *map(str, out.arguments),
    ]
    # A file, not a pipe: a process that is left behind with a pipe in its hands would make us wait for it.
    log = out.box / "errors"
    out.sandboxed = tuple(prefix) != without_sandrun()
    with log.open("w") as errors:
        options = {"cwd": out.work, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": errors}
        options.update(out.options)
        if terminal := options.pop("terminal", None):
            argv = [*_ON_TERMINAL, terminal, *argv]
            options["start_new_session"] = True
        process = out.who.popen(argv, **options)
        if hasattr(module, "watch"):
            module.watch(out, process)
        try:
            out.status = process.wait(60 * support.PATIENCE)
        except subprocess.TimeoutExpired as late:
            process.kill()
            process.wait()
            late.add_note(log.read_text())
            raise
    out.output = log.read_text()
    if out.status < 0:
        out.status = 128 - out.status


def without_sandrun() -> tuple[str, ...]:
    """The prefix of the control."""
    return _PARENT


def with_sandrun(module: ModuleType, out: Outside, *, bare: bool = False) -> list[str]:
    """The prefix that starts sandrun with the attempt's flags, or with an otherwise empty profile."""
    flags = BARE if bare else getattr(module, "SANDRUN", ())
    if any(flag.startswith("tcp:") for flag in flags):
        support.need_landlock(4)  # a profile that asks for a port does not run at all below it
    return [*out.who.sandrun, *(flag.format(**out.values) for flag in flags), "--"]


def python() -> str:
    """The system's interpreter, which every user can execute, inside too."""
    return support.need_program("python3")
