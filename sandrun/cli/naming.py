"""Which of the caller's variables the programs of a learning run know: the files are read here, `learn.variables` decides."""

from __future__ import annotations

import mmap
import os
import posixpath
import stat
from typing import TYPE_CHECKING

from sandrun.learn.uses import EXECUTE, READ
from sandrun.learn.variables import candidates, known_to
from sandrun.plan.environment import looks_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.cli.run import Prepared
    from sandrun.learn.compose import Run
    from sandrun.learn.derive import Scene

MOST_BYTES = 256 << 20
MOST_FILES = 200


def variables(run: Run, prepared: Prepared, scene: Scene, command: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name of each variable → the programs that know it: what was executed, and the command's own words and files."""
    plan = prepared.resolution.plan
    given = map(os.fsdecode, (*plan.env_pass, *plan.env_set))
    host = scene.host
    names = [name for name in candidates(host.environ, given) if not looks_secret(name)]
    if not names:
        return {}
    words = {host.realpath(word if word.startswith("/") else f"{scene.cwd}/{word}") for word in command if word}
    programs = (use for use in run.places if use.done == EXECUTE or (use.done == READ and use.path in words))
    files = dict.fromkeys(use.path for use in programs)
    found: dict[str, list[str]] = {}
    for name in known_to(names, "\n".join(command[1:]).encode(errors="replace")):
        found.setdefault(name, []).append("the command's words")
    for path in [path for path in files if not scene.tiers.of(path)][:MOST_FILES]:
        for name in _known_to(names, path):
            found.setdefault(name, []).append(posixpath.basename(path))
    return {name: tuple(several) for name, several in sorted(found.items())}


def _known_to(names: Sequence[str], path: str) -> set[str]:
    """What stands in one file; nothing if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return set()
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= MOST_BYTES:
            return set()
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as text:
            return known_to(names, text)
    except (OSError, ValueError):  # it was cut off meanwhile
        return set()
    finally:
        os.close(fd)
