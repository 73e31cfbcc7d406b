"""The lock files: everything pinned and hashed, in step with each other and with pyproject.toml."""

from __future__ import annotations

import re

import pytest
import tomli
from packaging.requirements import Requirement

from tests.support import CHECKOUT

LOCKS = CHECKOUT / "requirements"


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Package → (version, number of hashes)."""
    found = {}
    text = (LOCKS / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            match = re.match(r"([a-z0-9._-]+)==([^\s;]+)", line)
            assert match, f"not pinned: {line}"
            found[match[1]] = (match[2], line.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("name", ["bench.txt", "build.txt", "dev.txt", "run.txt"])
def test_everything_is_pinned_with_hashes(name: str) -> None:
    """No line without a version and a hash, and no address of an index: the user's own configuration decides."""
    assert all(hashes for _, hashes in pins(name).values())
    text = (LOCKS / name).read_text()
    assert "://" not in text
    assert "index" not in text


def test_locks_agree() -> None:
    """A package has one version in all of them."""
    dev = pins("dev.txt")
    for name in ("build.txt", "run.txt"):
        assert pins(name).items() <= dev.items()


def test_locks_hold_what_is_declared() -> None:
    """Each dependency of pyproject.toml and of requirements/*.in is locked, in a version that is allowed."""
    declared = tomli.loads((CHECKOUT / "pyproject.toml").read_text())
    run, build, dev = pins("run.txt"), pins("build.txt"), pins("dev.txt")
    for text in declared["project"]["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(run[requirement.name][0], prereleases=True)
    for text in declared["build-system"]["requires"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(build[requirement.name][0])
    for name, lock in (("dev.in", dev), ("build.in", build), ("bench.in", pins("bench.txt"))):
        for line in (LOCKS / name).read_text().splitlines():
            if line and not line.startswith("#"):
                assert Requirement(line).name in lock
