"""The body of one test in a confined process: forked where the test stands, confined in place, and ended with its report.

The forked process goes on in pytest as if nothing had happened: the body runs, is judged, represented and reported there
by whatever plugins there are. Its report comes out through a pipe, and nothing else does.
"""

from __future__ import annotations

import builtins
import contextlib
import linecache
import mmap
import os
import select
import signal
import sys
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from sandrun import libc, places
from sandrun.errors import SandrunError
from sandrun.library.inplace import Entry, confine, prepare
from sandrun.primitives import private
from sandrun.testing import covered, reports, told, tree

if TYPE_CHECKING:
    from collections.abc import Iterable

_write, _exit = os.write, os._exit  # whatever a body replaces there
CHUNK = 1 << 16
MOST_WARNINGS = 1000
"""Of one body that are shown."""


class Parts:
    """The reports of subtests, which pytest logs while the body runs, and nobody outside would hear of."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a failed one says."""
        if report.failed:
            self.failed.append(f"{report.head_line}\n{report.longreprtext}")

    def within(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record of a body: it fails where a part of it has failed."""
        if not self.failed:
            return record
        text = "\n\n".join(self.failed)
        if record["outcome"] == "failed":
            return record | {"sections": [*record["sections"], ("failed subtests", text)]}
        return record | {
            "outcome": "failed",
            "wasxfail": None,
            "longrepr": f"{len(self.failed)} failed subtests\n\n{text}",
        }


class Body:
    """A confined body, seen from either side of the fork."""

    def __init__(self, item: pytest.Item, prepared: Entry, channels: Iterable[int]) -> None:
        self.item = item
        self.channels = channels
        self.prepared = prepared
        self.is_confined = False
        self.is_running = False
        """In the confined process: what is reported now is a part of the test, and not the test."""
        self.record: dict[str, Any] = {}
        """What came out; empty if nothing did, and then `why` says why."""
        self.why = ""
        self._memory = mmap.mmap(-1, told.SIZE)
        self._measured: Any = None
        self._warned: list[warnings.WarningMessage] = []
        self._parts = Parts()
        self._scope = contextlib.ExitStack()
        self._writer = -1

    def run(self) -> None:
        """Fork: the confined process returns at once, this one when that has ended."""
        _warm(self.item)
        made = places.make_private(self.prepared.resolution.plan)
        children = tree.children()
        supervisor = os.pidfd_open(os.getpid())
        was_subreaper = libc.set_subreaper(on=True)
        reader, self._writer = os.pipe2(os.O_CLOEXEC)
        pid = _fork()
        if not pid:
            self._begin(made, supervisor)
            return
        try:
            os.close(supervisor)
            os.close(self._writer)
            if pid < 0:
                raise SandrunError("cannot start a process for the body")
            self._wait(pid, reader)
        finally:
            os.close(reader)
            left = tree.end_all_but(children, is_filtered=bool(self.prepared.resolution.plan.seccomp))
            libc.set_subreaper(on=was_subreaper)
            for path in made:
                private.remove(path)
        if left:
            self.why = f"{left} processes that the body left running could not be ended"

    def _begin(self, made: tuple[bytes, ...], supervisor: int) -> None:
        """Become the confined process."""
        self.is_confined = True
        try:
            self._measured = covered.begin()
            linecache.checkcache = lambda filename=None: None
            tempfile.tempdir = None
            _cut_off(self.channels)
            confine(self.prepared, made, supervisor)
            os.close(supervisor)
        except SandrunError as error:
            self._send({"broken": error.lines()})
        except BaseException as error:  # noqa: BLE001 (whatever it is, this process must not go on unconfined)
            self._send({"broken": [f"cannot confine the body: {error!r}"]})
        if "recwarn" not in getattr(self.item, "fixturenames", ()):
            self._warned = self._scope.enter_context(warnings.catch_warnings(record=True))
        self.item.config.pluginmanager.register(self._parts)
        body, end = self.item.runtest, told.watch(self._memory)

        def runtest() -> None:
            __tracebackhide__ = True
            self.is_running = True
            try:
                body()
            finally:
                end()  # what a report reads is not the test's
                self.is_running = False

        self.item.runtest = runtest  # type: ignore[method-assign]

    def finish(self, report: pytest.TestReport, error: BaseException | None) -> NoReturn:
        """End the confined process with its report."""
        config = self.item.config
        try:
            self._scope.close()
            data = config.hook.pytest_report_to_serializable(config=config, report=report)
            record = self._parts.within(reports.of(report, data))
            record["denied"] = told.refusals(error, self._memory) if report.outcome == "failed" else []
            record["warnings"] = [
                (one.category.__name__, str(one.message), one.filename, one.lineno) for one in self._warned
            ]
            record |= covered.found(self._measured)
        except BaseException as broken:  # noqa: BLE001 (what happens here must not go on in pytest)
            record = {"broken": [f"cannot report: {type(broken).__name__}: {broken}"]}
        self._send(record)

    def abandon(self, error: BaseException | None) -> NoReturn:
        """End the confined process without a report: pytest was to end, or did not get as far as to report."""
        if isinstance(error, pytest.exit.Exception):
            self._send({"ended": "exit", "reason": str(error)})
        if isinstance(error, KeyboardInterrupt):
            self._send({"ended": "interrupt", "reason": ""})
        self._send({"broken": [f"pytest ended without a report: {error!r}"]})

    def _send(self, record: dict[str, Any]) -> NoReturn:
        try:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            view = memoryview(reports.encode(record))
            while view:
                view = view[_write(self._writer, view[:CHUNK]) :]
        finally:
            _exit(0)

    def _wait(self, pid: int, reader: int) -> None:
        """Read until the confined process has ended; it is killed if it takes too long, sends too much, or we stop."""
        pidfd = os.pidfd_open(pid)
        try:
            data, why = _read(reader, pidfd, self.prepared.resolution.plan.deadline_ms)
        except BaseException:
            _kill(pid)
            raise
        finally:
            os.close(pidfd)
        if why:
            _kill(pid)
        else:
            _, status = os.waitpid(pid, 0)
            why = self._how(status) if status or not data else ""
        if not why:
            try:
                self.record = reports.decode(data)
            except reports.Malformed as error:
                why = f"what the confined body sent is no report: {error}"
        self.why = why or "; ".join(self.record.get("broken", ()))

    def _how(self, status: int) -> str:
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            with contextlib.suppress(ValueError):
                name = signal.Signals(number).name
                filtered = ", by the seccomp filter" if number == signal.SIGSYS else ""
                return f"the confined body was killed by {name}{filtered}"
            return f"the confined body was killed by signal {number}"
        return f"the confined body ended with status {os.waitstatus_to_exitcode(status)} before it had a report"

    def replaced(self, report: pytest.TestReport) -> pytest.TestReport:
        """The report of the test, from what came out."""
        if self.why:
            _, event = told.last(self._memory)
            report.outcome = "failed"
            report.longrepr = f"sandbox: {self.why}" + (f"\nsandbox: the last it tried: {event}" if event else "")
            return report
        made = reports.restore(self.item, report, self.record)
        for name, content in made.sections:
            if name.startswith("Captured ") and name.endswith(" call"):
                self.item.add_report_section("call", name.removeprefix("Captured ").removesuffix(" call"), content)
        lines = told.explain(self.prepared, self.record["denied"])
        if lines:
            made.sections.append(("sandbox: denied", "\n".join(lines)))
        return made

    def pass_on(self) -> None:
        """In the process that waited: what ends the session, the warnings, and what was covered."""
        ended = self.record.get("ended")
        if ended == "exit":
            raise pytest.exit.Exception(self.record["reason"])
        if ended == "interrupt":
            raise KeyboardInterrupt
        sources, warned = _sources(), self.record.get("warnings", ())
        if len(warned) > MOST_WARNINGS:
            text = f"{len(warned) - MOST_WARNINGS} more warnings of a confined body are not shown"
            warnings.showwarning(text, UserWarning, str(self.item.path), 1)
        for category, message, filename, lineno in warned[:MOST_WARNINGS]:
            kind = getattr(builtins, category, None)
            known = kind if isinstance(kind, type) and issubclass(kind, Warning) else UserWarning
            # The filters had their say in the confined process.
            text = message if known is kind else f"{category}: {message}"
            place = (filename, lineno) if filename in sources else (str(self.item.path), 1)  # whose line will be shown
            warnings.showwarning(text, known, *place)
        if "lines" in self.record:
            covered.merge(self.record)


def begin(item: pytest.Item, marker: pytest.Mark, channels: Iterable[int] = ()) -> Body:
    """What `marker` asks for this test, without these descriptors. Raises SandrunError."""
    overrides = dict(marker.kwargs)
    if "timeout" in overrides:
        overrides["time_timeout"] = overrides.pop("timeout")
    profile = marker.args[0] if len(marker.args) == 1 else marker.args or "default"
    own = getattr(item, "funcargs", {}).get("tmp_path")
    if own is not None:
        given = overrides.get("write", ())
        overrides["write"] = [*([given] if isinstance(given, str | os.PathLike) else given), str(own)]
    return Body(item, prepare(profile, overrides, kept=True), channels)


def _fork() -> int:
    """fork(2); -1 if there can be no more processes."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with warnings.catch_warnings():
        # Whatever threads there are, the forked process runs the body as this one would, and waits for none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return os.fork()
        except OSError:
            return -1


def _read(reader: int, pidfd: int, deadline_ms: int) -> tuple[bytes, str]:
    """What was sent until the process ended, and why it is to be ended before."""
    os.set_blocking(reader, False)
    end = time.monotonic() + deadline_ms / 1000 if deadline_ms >= 0 else None
    poll = select.poll()
    for fd in (reader, pidfd):
        poll.register(fd, select.POLLIN)
    data = bytearray()
    while True:
        left = None if end is None else (end - time.monotonic()) * 1000
        ready = dict(poll.poll(left if left is None else max(0.0, left)))
        if not ready or (left is not None and left < 0 and pidfd not in ready):
            return b"", f"the confined body took longer than {deadline_ms / 1000:g}s (time.timeout) and was ended"
        chunk = b""
        if reader in ready:
            with contextlib.suppress(BlockingIOError):
                chunk = os.read(reader, CHUNK)
                if not chunk:
                    poll.unregister(reader)
        data += chunk
        if len(data) > reports.MOST:
            return b"", f"the confined body sent more than {reports.MOST >> 20} MiB and was ended"
        if pidfd in ready and not chunk:
            return bytes(data), ""


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _cut_off(channels: Iterable[int]) -> None:
    """Have nothing but a device behind the descriptors by which other tests are told of too."""
    for fd in channels:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, fd, inheritable=False)
        os.close(null)


def _warm(item: pytest.Item) -> None:
    """Have what a report of a failure needs read while it can be: the sources, and the modules that pytest imports late."""
    for path in _sources():
        if path.endswith(".py") and path not in linecache.cache and _is_ours(item, path):
            linecache.getlines(path)
    for left, right in (("a\nb", "a\nc"), ([1], [2]), ({"a": 1}, {"a": 2})):
        item.config.hook.pytest_assertrepr_compare(config=item.config, op="==", left=left, right=right)
    if isinstance(item, pytest.Function):
        try:
            raise AssertionError
        except AssertionError:
            str(item.repr_failure(pytest.ExceptionInfo.from_current()))


def _sources() -> set[str]:
    """The files of the modules that this process has imported."""
    return {path for module in list(sys.modules.values()) if isinstance(path := getattr(module, "__file__", None), str)}


def _is_ours(item: pytest.Item, path: str) -> bool:
    return path.startswith(str(item.config.rootpath)) and "site-packages" not in path
