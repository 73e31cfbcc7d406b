"""A launch held to the lock of its profile: before it, by the policy; after it, by what the run used.

The lock is read before the command starts and not believed again, so nothing that the command does to the file counts
for this run. For the next one it would: a run after which the lock or a file of the profile is another has failed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import __version__
from sandrun.errors import SandrunError, UsageError
from sandrun.lock import uses
from sandrun.lock.denied import Places
from sandrun.lock.document import Lock, changes, load
from sandrun.lock.meanings import meanings
from sandrun.lock.portable import portable
from sandrun.profile.bad import escaped
from sandrun.profile.find import SUFFIX, Found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.profile.model import Profile

ENDING = ".lock"
MOST_BYTES = 16 * 2**20
"""More than a profile or a lock may have."""


class LockError(SandrunError):
    """The policy is not the one of the lock. The lines of the difference stand between message and hint."""

    def __init__(self, message: str, difference: Sequence[str], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.difference = tuple(difference)

    def lines(self) -> list[str]:
        return [self.message, *self.difference, f"hint: {self.hint}"]


class Held(NamedTuple):
    """A launch that is held to `lock`, the file `shown`; `file` is its profile as it was named."""

    lock: Lock
    shown: str
    file: str
    places: Places
    files: tuple[tuple[str, str], ...] = ()
    """The lock and the files of the profile, each with the digest of what stood there before the run."""

    def needed(self, record: bytes | None, explained: Mapping[str, Any] | None = None) -> list[str]:
        """What the run used that no recorded run did, one line each; none if the lock holds no runs.

        `record` is what the relay or the broker left, None where there was neither; `explained` what was denied, if it
        was looked at.
        """
        changed = [f"! {escaped(path)} was changed meanwhile" for path, digest in self.files if _digest(path) != digest]
        if self.lock.uses is None:
            return changed
        used, gap = uses.of_run(record, explained if self.lock.uses.denied is not None else None, self.places)
        return [*changed, *uses.news(used, self.lock.uses), *([f"~ not all is known: {gap}"] if gap else [])]

    def ending(self, needed: Sequence[str]) -> list[str]:
        """The lines for stderr about what was needed."""
        if not needed:
            return []
        if all(line.startswith("!") for line in needed):
            return ["the run is held to a lock, and its files are not what they were:", *needed]
        hint = f"hint: if it is right, add what a run used: sandrun lock {quote(self.file)} --used REPORT (of --report REPORT)"
        return [f"the run needed what it had not before: {self.shown}", *needed, hint]

    def document(self, needed: Sequence[str]) -> dict[str, Any]:
        """What `--report` holds of it."""
        return {"lock": self.shown, "runs": self.lock.uses is not None, "needed": list(needed)}


def _digest(path: str) -> str:
    """Of what stands in a file now; "" if it cannot be read, or is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        with open(fd, "rb", closefd=False) as file:
            return hashlib.sha256(file.read(MOST_BYTES)).hexdigest()
    except OSError:
        return ""
    finally:
        os.close(fd)


def _files(profile: Profile, *own: str) -> tuple[str, ...]:
    """Those of the lock and the profile, whatever it extends."""
    sources = [value.origin.source for values in profile.values.values() for value in values]
    found = dict.fromkeys((*own, *(source for source in sources if "/" in source)))
    return tuple(os.path.abspath(path) for path in found)


def path_of(file: str) -> str:
    """The lock of a profile's file, beside it."""
    return file.removesuffix(SUFFIX) + ENDING


def current(profile: Profile, file: str) -> Lock:
    """The lock as it would be made now, without runs. Raises SandrunError."""
    made = portable(profile, Found(file, file, file).directory)
    return Lock(made, __version__, meanings(made))


def here() -> Places:
    """Where a run that starts now is."""
    home = os.path.expanduser("~")
    try:
        return Places(os.getcwd(), home if home.startswith("/") else "")
    except FileNotFoundError:  # the working directory was deleted
        return Places("", home)


def hold(profile: Profile, words: Sequence[str], *, explained: bool = False) -> Held:
    """Hold the launch of `profile` to its lock; `words` are those of `-p`, and the first file of them has the lock.

    `explained`: what is denied to the run will be known. A lock that has it can be held only then. Raises LockError if
    the policy is another one; UsageError; ProfileError or SandrunError if there is no such lock.
    """
    file = next((word for word in words if "/" in word), None)
    if file is None:
        raise UsageError(
            "--locked needs a profile that is a file", hint="as in -p ./app.toml, whose lock is ./app.lock"
        )
    path = path_of(file)
    lock, shown = load(path, escaped(path)), escaped(path)
    difference = changes(lock, current(profile, file))
    if difference:
        raise LockError(
            f"the policy is not the one that was locked: {shown}",
            difference,
            f"if it is meant: sandrun lock {quote(escaped(file))}, with the same options, and review the change of {shown}",
        )
    if lock.uses and lock.uses.denied is not None and not explained:
        raise UsageError(
            f"cannot hold the run to what {shown} says was denied to earlier ones",
            hint="--explain looks at what is denied; or lock anew without: remove it, then sandrun lock",
        )
    files = tuple((each, _digest(each)) for each in _files(profile, path, file))
    return Held(lock, shown, escaped(file), here(), files)
