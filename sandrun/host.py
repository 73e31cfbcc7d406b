"""Host: what a plan reads of the machine besides the kernel: files, accounts, mounts, the environment.

`plan.resolve` gets it as a parameter and reads nothing else, so that tests can plan for a machine made of a dict.
Paths are str with surrogateescape; a question about a path that cannot be answered is None, never an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stat(NamedTuple):
    """The fields of stat(2) that plans use. `mode` has the type bits."""

    mode: int
    dev: int
    ino: int
    nlink: int
    uid: int
    gid: int


class Account(NamedTuple):
    """An entry of passwd(5), or what is known of a bare number (then `name` and `home` are "")."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo (proc(5)): device, root within its filesystem, mount point, type."""

    dev: int
    root: str
    point: str
    fstype: str


class Host(Protocol):
    """The questions `resolve` asks."""

    @property
    def cwd(self) -> str:
        """The caller's working directory; "" if it was deleted."""
        ...

    @property
    def environ(self) -> Mapping[str, str]: ...

    @property
    def uid(self) -> int: ...

    @property
    def gid(self) -> int: ...

    def account(self, user: str | int) -> Account | None:
        """The account by name or number. An unknown number gives an Account with empty name and home."""
        ...

    def group(self, group: str | int) -> int | None: ...

    def groups_of(self, account: Account) -> tuple[int, ...]:
        """The supplementary groups of group(5)."""
        ...

    def lstat(self, path: str) -> Stat | None: ...

    def stat(self, path: str) -> Stat | None: ...

    def realpath(self, path: str) -> str:
        """Canonical, also for what does not exist (as `os.path.realpath`)."""
        ...

    def listdir(self, path: str) -> list[str] | None:
        """Sorted names, or None if it is no directory that can be read."""
        ...

    def read(self, path: str, limit: int) -> bytes | None:
        """The first `limit` bytes of a regular file."""
        ...

    def mounts(self) -> tuple[Mount, ...]: ...

    def fd_stat(self, fd: int) -> tuple[Stat, int] | None:
        """fstat(2) and the F_GETFL flags of an open descriptor of the caller."""
        ...

    def fd_path(self, fd: int) -> str:
        """What /proc/self/fd says of it, or ""."""
        ...

    def rlimit(self, resource: int) -> tuple[int, int]:
        """The inherited (soft, hard) limit; RLIM_INFINITY is 2**64 - 1."""
        ...
