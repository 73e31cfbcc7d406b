"""The packages that sandrun needs: whether they can be used here. Imports none of them before it looks."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import NamedTuple

from sandrun.errors import SandrunError
from sandrun.primitives import seccomp_compile

MODULES = {
    "click": "click",
    "dns": "dnspython",
    "landlock": "landlock",
    "prctl": "python-prctl",
    "pyseccomp": "pyseccomp",
    "tomli": "tomli",
}
"""Each module and the package that brings it."""


class Package(NamedTuple):
    """A package that sandrun needs: its version, or why it cannot be used."""

    name: str
    version: str = ""
    problem: str = ""


def packages() -> tuple[Package, ...]:
    """The packages that sandrun needs, each imported."""
    return tuple(_package(module, name) for module, name in MODULES.items())


def _package(module: str, name: str) -> Package:
    try:
        if module == "pyseccomp":
            seccomp_compile.load_pyseccomp()
        else:
            importlib.import_module(module)
    except (ImportError, OSError, SandrunError) as error:
        return Package(name, problem=str(error))
    except NameError:
        pass  # python-prctl built against newer headers than it knows: `caps` does without it
    try:
        return Package(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Package(name, "unknown")
