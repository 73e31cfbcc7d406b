"""One launch as `subprocess` takes it: the whole command line, the launcher's environment, the descriptors that it needs."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from sandrun.errors import UsageError
from sandrun.library import launcher, toml
from sandrun.library.launcher import STANDARD
from sandrun.library.words import DEFAULT, asked, inherited
from sandrun.primitives import fds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.library.words import Source, Table

    Argument = str | bytes | os.PathLike[str] | os.PathLike[bytes]

NOBODYS = "SANDRUN_EXECUTOR"
"""The variable that no command ever gets. A list of it alone passes nothing on; an empty one would be the default list."""


def pipe() -> tuple[int, int]:
    """A pipe for events, which may not be in the place of a standard descriptor that this process has closed."""
    read, write = os.pipe()
    return above_standard(read), above_standard(write)


def above_standard(fd: int) -> int:
    """The descriptor, or a copy in its stead that is above 2."""
    if fd > STANDARD:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STANDARD + 1)
    finally:
        os.close(fd)


def youngest(words: Sequence[str]) -> int:
    """The child that was started last with these words, 0 if there is none: an interrupt has lost its process id."""
    # Without those that start the launcher, which may have executed Python by now.
    line = b"".join(os.fsencode(word) + b"\0" for word in words[words.index("--status-fd") :])
    found = [(0, 0)]
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file, open(f"/proc/{name}/stat", "rb") as status:
                fields = status.read().rpartition(b")")[2].split()  # proc_pid_stat(5), from the third one on
                if int(fields[1]) == os.getpid() and file.read().endswith(line):
                    found.append((int(fields[19]), int(name)))
        except OSError:
            continue  # it has ended
    return max(found)[1]


class Start:
    """The words of a launch, and what it must inherit. Close it once the launcher runs."""

    def __init__(
        self,
        argv: Argument | Sequence[Argument],
        profile: Source | Iterable[Source],
        overrides: Table,
        env: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        extra: Iterable[str] = (),
    ) -> None:
        """Make the words. `extra` are flags of the launch itself. Raises SandrunError."""
        command = [argv] if isinstance(argv, str | bytes | os.PathLike) else list(argv)
        if not command:
            raise UsageError("no command given")
        self.kept = tuple(pass_fds)
        wish = asked(profile, overrides, env, self.kept)
        self.environment: dict[str, str] | None = None
        self.documents: list[int] = []
        try:
            profiles = [one if isinstance(one, str) else self._document(one) for one in wish.profiles]
            flags = [*wish.flags, *self._variables(dict(wish.env), profiles, only=wish.only)]
        except BaseException:
            self.close()
            raise
        self.command = [os.fsdecode(word) for word in command]
        self.options = [*(f"--profile={name}" for name in profiles), *flags, "--quiet", *extra]

    def words(self, status: int, first: Sequence[str] = ()) -> list[str]:
        """The whole command line; events go to the descriptor `status`. `first`: what starts the launcher."""
        # First, where the plan cache takes the number for no part of the key (sandrun/plancache/place.py).
        return [*(first or launcher.words()), "--status-fd", str(status), *self.options, "--", *self.command]

    def fds(self, status: int) -> tuple[int, ...]:
        """What the launcher inherits."""
        return (*self.kept, *self.documents, status)

    def close(self) -> None:
        """Close what was made for the launcher."""
        while self.documents:
            os.close(self.documents.pop())

    def _document(self, table: Table) -> str:
        """A sealed file of this text, by the name that it has in the launcher."""
        fd = above_standard(fds.sealed("profile", toml.text(table).encode()))
        self.documents.append(fd)
        os.fchmod(fd, 0o400)  # root reads no profile that others may write
        return f"/proc/self/fd/{fd}"

    def _variables(self, env: Mapping[str, str], profiles: list[str], *, only: bool) -> list[str]:
        """The flags that pass these variables on. Their values are in the launcher's environment, or in a document."""
        by_name = {name: value for name, value in env.items() if inherited(name, value)}
        others = {name: value for name, value in env.items() if name not in by_name}
        if by_name:
            self.environment = {**os.environ, **by_name}
        if others:
            profiles[:] = [*(profiles or [DEFAULT]), self._document({"environment": {"set": others}})]
        flags = ["--replace=environment.pass", f"--env={NOBODYS}"] if only else []
        return [*flags, *(f"--env={name}" for name in by_name)]
