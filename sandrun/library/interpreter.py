"""What a confined worker must be able to read to be a Python: the interpreter, its libraries and the caller's `sys.path`.

All of it is readable, none of it writable. A directory of `sys.path` that holds more than modules (a home, `/tmp`) is left out:
the directory of a script is the first entry of `sys.path`, and a script in a home would open the whole home.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

from sandrun.errors import SandrunError
from sandrun.library import launcher
from sandrun.library.call_errors import SendError
from sandrun.library.sent import Job, search_path

if TYPE_CHECKING:
    from collections.abc import Iterable

BOOT = "import sys; sys.path.insert(0, sys.argv[1]); import sandrun; del sys.path[0]; from sandrun.library.worker import main; main()"
"""The directory of sandrun is asked for sandrun alone: whatever else lies there is not taken for a part of the worker."""
_SHARED = (
    *("/", "/dev", "/dev/shm", "/etc", "/home", "/mnt", "/proc", "/root", "/run"),  # noqa: S108 (named to be left out)
    *("/srv", "/sys", "/tmp", "/var", "/var/tmp"),  # noqa: S108
)
"""Directories of everybody and everything."""


def words() -> list[str]:
    """The command line of a worker: the same for every job, so that one plan serves all. Raises SandrunError."""
    if not sys.executable:
        raise SandrunError("cannot start a worker: this Python does not know its own path (sys.executable)")
    return [sys.executable, "-I", "-B", "-c", BOOT, launcher.ROOT]


def grants(job: Job | None = None, function: object = None) -> tuple[str, ...]:
    """The paths that a worker reads. The interpreter is its command, and granted by that. Raises SendError if the function's module would be out of its reach."""
    homes = _homes()
    places = [entry for entry in search_path() if os.path.exists(entry)]
    places += [
        os.path.join(launcher.ROOT, "sandrun"),
        os.path.join(sys.prefix, "pyvenv.cfg"),
        sysconfig.get_path("stdlib"),
    ]
    places += [str(sysconfig.get_config_var("LIBDIR"))] if sysconfig.get_config_var("Py_ENABLE_SHARED") else []
    read = [place for place in dict.fromkeys(places) if os.path.exists(place) and not is_too_much(place, homes)]
    if job and job.main and job.main[0] == "path":
        read.append(job.main[1])
    if function is not None:
        _check_reach(function, read)
    return tuple(dict.fromkeys(read))


def is_too_much(place: str, homes: Iterable[str]) -> bool:
    """Whether a directory holds more than modules: it is shared by everything, a home, or above one."""
    real = os.path.realpath(place)
    return real in _SHARED or any(os.path.commonpath([home, real]) == real for home in homes)


def _homes() -> list[str]:
    """The home directories of the caller: of the environment, and of passwd(5)."""
    found = {os.path.expanduser("~")}
    try:
        import pwd  # noqa: PLC0415 (as os.path.expanduser does)

        found.add(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        pass  # a uid without an account
    return [os.path.realpath(home) for home in found if home.startswith("/") and home != "/"]


def _check_reach(function: object, read: Iterable[str]) -> None:
    """The file of the function's module is below something that is granted."""
    name = getattr(function, "__module__", None) or ""
    file = getattr(sys.modules.get(name), "__file__", None)
    if name == "__main__" or not file:
        return
    above = os.path.dirname(os.path.abspath(file))
    for _ in range(name.count(".") + (os.path.basename(file) == "__init__.py")):
        above = os.path.dirname(above)
    if not any(os.path.commonpath([place, above]) == place for place in read) and not _is_system(above):
        raise SendError(
            f"cannot send the function: {name}.{getattr(function, '__qualname__', '')}: a worker may not read {above}",
            hint=f"it is no directory of sys.path, or holds more than modules: move the module, or grant it: read=[{above!r}]",
        )


def _is_system(place: str) -> bool:
    return any(
        os.path.commonpath([top, place]) == top for top in (sysconfig.get_path("stdlib"), sys.base_prefix) if top != "/"
    )


def merged(overrides: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The caller's overrides with these paths readable besides its own."""
    return {**overrides, "read": [*_listed(overrides.get("read")), *paths]}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, (str, bytes, os.PathLike)) else list(value)
