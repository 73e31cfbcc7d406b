"""Which program a launch from Python starts: the sandrun that this module belongs to, and never one that PATH finds.

That is the native front within the package, which need not be installed as a command. It is told how Python is started
for what it has no plan of yet; without it, and where SANDRUN_EXECUTOR names another executor, that is started itself.
"""

from __future__ import annotations

import os
import site
import sys

from sandrun import native
from sandrun.errors import SandrunError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAIN = os.path.join(ROOT, "sandrun", "__main__.py")


def words() -> tuple[str, ...]:
    """The first words of every command line. Raises SandrunError if this interpreter does not know its own path."""
    if not sys.executable:
        raise SandrunError("cannot start sandrun: this Python does not know its own path (sys.executable)")
    # Isolated, as the front starts it; but its packages may be those of the user, which -I leaves out.
    isolated = "-EP" if site.ENABLE_USER_SITE and _is_below(ROOT, site.getusersitepackages()) else "-I"
    python = (os.path.abspath(sys.executable), isolated, MAIN)
    if os.environ.get(native.VARIABLE) or not os.access(native.BINARY, os.X_OK):
        return python
    return (native.BINARY, "--front", *python, "--")


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")
