"""A whole pytest session under the launcher: the process becomes it before it has imported anything of the tests."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from sandrun.library import launcher

if TYPE_CHECKING:
    from collections.abc import Iterator

INSIDE = "SANDRUN_PYTEST"
"""Set to the profile in a session that was started anew, and in what that starts. By itself it is believed of nobody."""
CONFINED = {"NoNewPrivs": "1", "Seccomp": "2"}
"""What /proc/self/status says of every process below the launcher (proc(5))."""
CACHE = "cache_dir=${TMPDIR}/pytest-cache"
PASSED = (
    "CI",
    "COVERAGE_*",
    "COV_*",
    "FORCE_COLOR",
    "NO_COLOR",
    "PYTEST_*",
    "PY_COLORS",
    "PYTHON*",
    "TEST_*",
    "VIRTUAL_ENV",
)
OUTPUTS = ("xmlpath", "report_log", "log_file", "basetemp")
"""The options of pytest and its plugins that name a file or directory to be written."""


def enter(config: pytest.Config) -> None:
    """Become the launcher with this session as its command, unless that has been done. Raises pytest.UsageError."""
    profile: str = config.known_args_namespace.sandbox
    if os.environ.get(INSIDE) == profile:
        _check()
        # What pytest-cov gathers is reported by this session; beside the project it could not be kept.
        os.environ.setdefault("COVERAGE_FILE", os.path.join(tempfile.gettempdir(), ".coverage"))
        return
    if "coverage" in sys.modules and not getattr(config.known_args_namespace, "cov_source", None):
        raise pytest.UsageError(
            "--sandbox: coverage.py measures a process that the session leaves: use --cov of pytest-cov"
        )
    words = [*launcher.words(), *options(config), "--", *_python(), "-m", "pytest"]
    words += ["-o", CACHE] if config.pluginmanager.hasplugin("cacheprovider") else []
    words += map(os.fspath, config.invocation_params.args)
    environment = {**os.environ, INSIDE: profile, "PYTHONDONTWRITEBYTECODE": "1"}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        os.execve(words[0], words, environment)  # noqa: S606 (the session goes on in there)
    except OSError as error:
        raise pytest.UsageError(f"--sandbox: cannot start sandrun: {error}") from None


def _python() -> list[str]:
    """This interpreter as it was started; `-m pytest` alone would put the current directory into its path."""
    if not sys.executable:
        raise pytest.UsageError("--sandbox: this Python does not know its own path (sys.executable)")
    has_directory = sys.path[:1] in ([""], [os.getcwd()])
    return [sys.executable, *([] if has_directory else ["-P"]), *(f"-W{option}" for option in sys.warnoptions)]


def options(config: pytest.Config) -> list[str]:
    """The options of the launcher: temporary directories and named outputs are written, the rest is only read."""
    known = config.known_args_namespace
    found = [f"--profile={known.sandbox}", "--replace=filesystem.write", "--write=@devices", "--tmp=private"]
    found += [f"--read={path}" for path in _readable(config)]
    found += [f"--execute={path}" for path in dict.fromkeys((sys.prefix, sys.base_prefix))]
    found += [f"--env={name}" for name in (INSIDE, *PASSED)]
    for name in OUTPUTS:
        path = getattr(known, name, None)
        if path:
            whole = os.path.abspath(path)
            found.append(f"--create={whole}/" if name == "basetemp" else f"--create={whole}")
    found += [f"--write={config.rootpath / path}" for path in config.getini("sandbox_write")]
    return [*found, *config.getini("sandbox_options")]


def header(profile: str) -> str:
    """The line of the session's header."""
    return f"sandbox: the session is confined by {profile}: it writes temporary directories only"


def _readable(config: pytest.Config) -> Iterator[str]:
    """What the session reads: the project, and where its modules are."""
    yield str(config.rootpath)
    for path in dict.fromkeys(sys.path):
        if path and os.path.isdir(path):
            yield os.path.abspath(path)


def _check() -> None:
    """Raise pytest.UsageError if this session is not confined, whatever its environment says."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    if any(status.get(name) != value for name, value in CONFINED.items()):
        raise pytest.UsageError(f"--sandbox: {INSIDE} is set, and the session is not confined: unset it")
