"""What `filesystem.rules` show at another place: what is denied of it is denied there too."""

from __future__ import annotations

import os

import pytest

from sandrun.kernel import NAMESPACES, Kernel
from sandrun.plan.resolve import Resolution, resolve
from sandrun.primitives.landlock import FS, WRITE
from sandrun.primitives.view import READ_ONLY, VIEW_BIND, VIEW_TMPFS
from sandrun.profile import load
from sandrun.profile.model import AccessRule, Origin, Value
from sandrun.profile.paths import parse
from tests.fakes import FakeHost, directory, file, program

READING = ("read_file", "read_dir")
WRITING = tuple(name for name, bit in FS.items() if bit & WRITE)
MASK = (READ_ONLY, "/dev/null")


def a_host(**more: object) -> FakeHost:
    tree = {
        "/bin/sh": program(),
        "/a/secret": file(),
        "/a/vault/gold": file(),
        "/b": directory(),
        "/dev/null": file(),
        "/b/secret": file(),
        "/b/other": file(),
    }
    return FakeHost(tree, **more)  # type: ignore[arg-type]


def plan(*flags: tuple[str, str], path: str = "/a", access: tuple[str, ...] = READING) -> Resolution:
    """The plan for /bin/sh where `path` is shown at /b."""
    profile = load(["none"], [(key, text, f"--{key}") for key, text in flags])
    rule = Value(AccessRule(parse(path), access, "/b"), Origin("test", "rules"))
    profile = profile._replace(values={**profile.values, "filesystem.rules": (rule,)})
    return resolve(profile, Kernel(landlock_abi=7, **dict.fromkeys(NAMESPACES, True)), a_host(), ["/bin/sh"])


def records(found: Resolution, operation: int = VIEW_BIND) -> dict[str, tuple[int, str]]:
    rows = [(path, flags, source) for kind, flags, path, source in found.plan.view if kind == operation]
    return {os.fsdecode(path): (flags, os.fsdecode(source)) for path, flags, source in rows}


@pytest.mark.parametrize("path", ["/a/secret", "/b/secret"])
def test_a_denied_file_is_covered_where_it_is_shown(path: str) -> None:
    """By its name on the host, and by the one that the command would use."""
    found = records(plan(("filesystem.deny", path)))
    assert found["/b"] == (READ_ONLY, "/a")
    assert found["/b/secret"] == MASK


def test_a_denied_directory_is_covered_where_it_is_shown() -> None:
    """A directory is covered by an empty one."""
    assert "/b/vault" in records(plan(("filesystem.deny", "/a/vault")), VIEW_TMPFS)


def test_what_lies_in_something_denied_is_not_shown() -> None:
    """A denial above it wins, wherever it is shown, and whatever is granted around that place."""
    found = plan(("filesystem.deny", "/a"), ("filesystem.read", "/"), path="/a/vault")
    assert "/b" in records(found, VIEW_TMPFS)


def test_deny_write_holds_where_it_is_shown() -> None:
    """The file is read-only there, and it is the one that was meant."""
    found = records(plan(("filesystem.deny_write", "/a/secret"), access=WRITING))
    assert found["/b"] == (0, "/a")
    assert found["/b/secret"] == (READ_ONLY, "/a/secret")


def test_a_denied_name_that_is_covered_needs_nothing() -> None:
    """What the host has at the place is not seen, so a name that only it has is no mount point."""
    assert "/b/other" not in records(plan(("filesystem.deny", "/b/other")))
