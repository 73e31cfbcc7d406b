"""Which program a launch from Python starts: the sandrun that this module belongs to, and never one that PATH finds.

That is the native front within the package, which need not be installed as a command. It is told how Python is started
for what it has no plan of yet; without it, and where SANDRUN_EXECUTOR names another executor, that is started itself.
"""

from __future__ import annotations

import os
import site
import sys
from typing import TYPE_CHECKING

from sandrun import native
from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAIN = os.path.join(ROOT, "sandrun", "__main__.py")
STANDARD = 2


def words() -> tuple[str, ...]:
    """The first words of every command line. Raises SandrunError if this interpreter does not know its own path."""
    if os.environ.get(native.VARIABLE) or not os.access(native.BINARY, os.X_OK):
        return _python()
    return front()


def front(only: Iterable[int] = ()) -> tuple[str, ...]:
    """`words` of the native front, whether it is there or not; with `only` it closes all other descriptors but 0 to 2."""
    kept = [f"--only={','.join(map(str, sorted({fd for fd in only if fd > STANDARD})))}"] if only else []
    return (native.BINARY, "--front", *kept, *_python(), "--")


def _python() -> tuple[str, ...]:
    if not sys.executable:
        raise SandrunError("cannot start sandrun: this Python does not know its own path (sys.executable)")
    # Isolated, as the front starts it; but its packages may be those of the user, which -I leaves out.
    isolated = "-EP" if site.ENABLE_USER_SITE and _is_below(ROOT, site.getusersitepackages()) else "-I"
    return (os.path.abspath(sys.executable), isolated, MAIN)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")
