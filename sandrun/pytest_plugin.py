"""The pytest plugin: `@pytest.mark.sandbox`, the fixture `sandbox`, and `--sandbox=PROFILE`.

pytest loads it in every session where sandrun is installed, so nothing heavy is imported before it is used.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from sandrun.testing.body import Body

MARKER = """sandbox(profile, /, **overrides): run the body of the test confined by a profile of sandrun, after its fixtures \
were set up as usual; what it may do besides is said by overrides, as for sandrun.run"""
EVENTS: pytest.StashKey[mmap.mmap] = pytest.StashKey()
BODY: pytest.StashKey[Body] = pytest.StashKey()
CHANNELS: pytest.StashKey[Iterable[int]] = pytest.StashKey()
"""The descriptors by which a worker of pytest-xdist tells of all tests, not of one."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("sandrun", "confined tests")
    group.addoption(
        "--sandbox",
        metavar="PROFILE",
        help="Run the whole session under this profile of sandrun, with temporary directories of its own and no network.",
    )
    parser.addini("sandbox_profile", "The profile of the fixture sandbox (default: default).", default="default")
    parser.addini("sandbox_write", "Paths that a session under --sandbox may write.", type="linelist", default=[])
    parser.addini("sandbox_options", "More options of sandrun for a session under --sandbox.", type="args", default=[])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    """Start the session anew under the launcher, before anything of the tests is imported and before output is captured."""
    if getattr(early_config.known_args_namespace, "sandbox", None):
        from sandrun.testing import session  # noqa: PLC0415 (few sessions need it)

        session.enter(early_config)
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and look out for what a confined session is refused."""
    config.addinivalue_line("markers", MARKER)
    if hasattr(config, "workerinput"):
        config.stash[CHANNELS] = _channels()
    if config.getoption("sandbox"):
        from sandrun.testing import told  # noqa: PLC0415 (few sessions need it)

        config.stash[EVENTS] = mmap.mmap(-1, told.SIZE)
        told.watch(config.stash[EVENTS])


def _channels() -> list[int]:
    """The pipes and sockets that are open, but for the standard streams: no fixture has opened any yet."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            mode = os.fstat(int(name)).st_mode
            if int(name) > 2 and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
                found.append(int(name))
    return found


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say under which profile the session runs."""
    profile = config.getoption("sandbox")
    if not profile:
        return None
    from sandrun.testing import session  # noqa: PLC0415 (few sessions need it)

    return session.header(profile)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """A confined process never gets beyond its test."""
    here = os.getpid()
    error: BaseException | None = None
    try:
        return (yield)
    except BaseException as raised:
        error = raised
        raise
    finally:
        body = item.stash.get(BODY, None)
        if body is not None and os.getpid() != here:
            body.abandon(error)
        if body is not None:
            del item.stash[BODY]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Have the body of a marked test run in a confined process, whose copy of this function returns to run it."""
    marker = item.get_closest_marker("sandbox")
    if marker is None:
        return
    from sandrun.testing import body as bodies  # noqa: PLC0415 (few tests need it)

    body = said = None
    try:
        body = item.stash[BODY] = bodies.begin(item, marker, item.config.stash.get(CHANNELS, ()))
        body.run()
    except SandrunError as error:
        said = error.lines()
    if body is None or said:
        pytest.fail("\n".join(["sandbox: cannot confine the test", *(said or ())]), pytrace=False)
    if not body.is_confined:
        body.pass_on()
        item.runtest = _done  # type: ignore[method-assign]


def _done() -> None:
    """The body has been run elsewhere."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The report of the confined body in the place of our own; what a confined session was refused, in any."""
    body = item.stash.get(BODY, None)
    denied = [] if body else _denied(item.config, call)  # before what pytest reads for its report
    report = yield
    if denied and report.failed:
        report.sections.append(("sandbox: denied", "\n".join(denied)))
    if body is None or call.when != "call":
        return report
    if body.is_confined and body.is_running:
        return report
    if body.is_confined:
        body.finish(report, call.excinfo.value if call.excinfo else None)
    vars(item).pop("runtest", None)
    return report if call.excinfo else body.replaced(report)


def _denied(config: pytest.Config, call: pytest.CallInfo[None]) -> list[str]:
    events = config.stash.get(EVENTS, None)
    if events is None or call.excinfo is None:
        return []
    from sandrun.testing import told  # noqa: PLC0415 (few sessions need it)

    return told.plainly(told.refusals(call.excinfo.value, events), config.getoption("sandbox"))


class Sandbox:
    """Commands that start in `path`, the test's `tmp_path`, and may write it, under `profile` unless they say another."""

    def __init__(self, path: Path, profile: Any) -> None:
        self.path = path
        self.profile = profile

    def run(self, argv: Any, **options: Any) -> Any:
        """As `sandrun.run`."""
        import sandrun  # noqa: PLC0415 (only where it is used)

        return sandrun.run(argv, **self._with(options))

    def Popen(self, argv: Any, **options: Any) -> Any:  # noqa: N802 (the name that subprocess has)
        """As `sandrun.Popen`."""
        import sandrun  # noqa: PLC0415 (only where it is used)

        return sandrun.Popen(argv, **self._with(options))

    def _with(self, options: dict[str, Any]) -> dict[str, Any]:
        made = {"profile": self.profile, "cwd": self.path, **options}
        given = made.get("write", ())
        made["write"] = [*([given] if isinstance(given, str | os.PathLike) else given), str(self.path)]
        return made


@pytest.fixture
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    """Run commands confined: `sandbox.run(["make"])`, `sandbox.Popen([...])`. They may write `tmp_path` and start there."""
    return Sandbox(tmp_path, request.config.getini("sandbox_profile"))
