"""Host: what a plan reads of the machine besides the kernel: files, accounts, mounts, the environment.

`plan.resolve` gets it as a parameter and reads nothing else, so that tests can plan for a machine made of a dict.
Paths are str with surrogateescape; a question about a path that cannot be answered is None, never an exception.
"""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import stat
import sys
from resource import getrlimit

from sandrun import libc
from sandrun.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol
else:
    Protocol = object

SO_DOMAIN, SO_PROTOCOL = (1, 39), (1, 38)
"""Level SOL_SOCKET and option of socket(7)."""
ACL = "system.posix_acl_access"
LINK_MODE = stat.S_IFLNK | 0o777
"""Of every symbolic link (symlink(7))."""
NO_ID = 2**32 - 1
"""(uid_t) -1: "leave as it is" to the kernel, and nobody's number."""


class Stat(NamedTuple):
    """The fields of stat(2) that plans use. `mode` has the type bits."""

    mode: int
    dev: int
    ino: int
    nlink: int
    uid: int
    gid: int
    acl: bytes = b""
    """What `Host.acl` says, where it was asked."""


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

    @property
    def environ(self) -> Mapping[str, str]: ...

    @property
    def uid(self) -> int: ...

    @property
    def gid(self) -> int: ...

    def account(self, user: str | int) -> Account | None:
        """The account by name or number. An unknown number gives an Account with empty name and home."""

    def group(self, group: str | int) -> int | None: ...

    def groups_of(self, account: Account) -> tuple[int, ...]:
        """The supplementary groups of group(5)."""

    def lstat(self, path: str) -> Stat | None: ...

    def stat(self, path: str) -> Stat | None: ...

    def acl(self, path: str) -> bytes:
        """The access control list of a file that is no symbolic link, as the kernel keeps it (acl(5)); b"" without one."""

    def readlink(self, path: str) -> str | None:
        """What a symbolic link says, None if it is none."""

    def realpath(self, path: str) -> str:
        """Canonical, also for what does not exist (as `os.path.realpath`)."""

    def listdir(self, path: str) -> list[str] | None:
        """Sorted names, or None if it is no directory that can be read."""

    def modes(self, path: str) -> list[tuple[str, int]] | None:
        """The sorted names in a directory, each with the mode of lstat(2), 0 if that failed; None as for `listdir`."""

    def read(self, path: str, limit: int, offset: int = 0) -> bytes | None:
        """At most `limit` bytes of a regular file from `offset`."""

    def mounts(self) -> tuple[Mount, ...]: ...

    def fd_stat(self, fd: int) -> tuple[Stat, int] | None:
        """fstat(2) and the F_GETFL flags of an open descriptor of the caller."""

    def fd_path(self, fd: int) -> str:
        """What /proc/self/fd says of it, or ""."""

    def fd_device(self, fd: int) -> str:
        """The same if it is an open character device, else ""."""

    def fd_socket(self, fd: int) -> tuple[int, int] | None:
        """Address family and protocol of an open socket (SO_DOMAIN, SO_PROTOCOL of socket(7)); None if it is none."""

    def fd_unix_free(self, fd: int) -> bool:
        """Whether an open unix socket can reach others than the one it is connected to: it is one of datagrams, or it
        is neither connected nor listening (unix(7))."""

    def launcher(self) -> tuple[str, ...]:
        """The directories that this program and its libraries are loaded from, but for those of the system."""

    def rlimit(self, resource: int) -> tuple[int, int]:
        """The inherited (soft, hard) limit; RLIM_INFINITY is 2**64 - 1."""


class System:
    """The real Host: this machine, asked anew each time."""

    @property
    def cwd(self) -> str:
        try:
            path = os.getcwd()
        except OSError:
            return ""
        # getcwd(2) answers "(unreachable)/..." when the directory lies outside the current root.
        return path if path.startswith("/") else ""

    @property
    def environ(self) -> Mapping[str, str]:
        return os.environ

    @property
    def uid(self) -> int:
        return os.geteuid()

    @property
    def gid(self) -> int:
        return os.getegid()

    def account(self, user: str | int) -> Account | None:
        if isinstance(user, int) and not 0 <= user < NO_ID:
            return None
        try:
            entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
        except KeyError:
            return Account("", user, user, "", "") if isinstance(user, int) else None
        except ValueError:
            return None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)

    def group(self, group: str | int) -> int | None:
        if isinstance(group, int):
            return group
        try:
            return grp.getgrnam(group).gr_gid
        except (KeyError, ValueError):
            return None

    def groups_of(self, account: Account) -> tuple[int, ...]:
        return tuple(os.getgrouplist(account.name, account.gid)) if account.name else (account.gid,)

    def lstat(self, path: str) -> Stat | None:
        return _stat(path, follow=False)

    def stat(self, path: str) -> Stat | None:
        return _stat(path, follow=True)

    def acl(self, path: str) -> bytes:
        try:
            return os.getxattr(path, ACL, follow_symlinks=False)
        except (OSError, ValueError):
            return b""

    def readlink(self, path: str) -> str | None:
        try:
            return os.readlink(path)
        except (OSError, ValueError):
            return None

    def realpath(self, path: str) -> str:
        try:
            return os.path.realpath(path)
        except (OSError, ValueError):
            return os.path.normpath(path)

    def listdir(self, path: str) -> list[str] | None:
        try:
            return sorted(os.listdir(path))
        except (OSError, ValueError):
            return None

    def modes(self, path: str) -> list[tuple[str, int]] | None:
        try:
            with os.scandir(path) as entries:
                # Of a link the directory has told, without another call.
                return sorted([(one.name, LINK_MODE if one.is_symlink() else _mode(one)) for one in entries])
        except (OSError, ValueError):
            return None

    def read(self, path: str, limit: int, offset: int = 0) -> bytes | None:
        try:
            # O_NONBLOCK: opening a fifo would otherwise wait for its writer.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError):
            return None
        try:
            return os.pread(fd, limit, offset) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        except (OSError, OverflowError):
            return None
        finally:
            os.close(fd)

    def mounts(self) -> tuple[Mount, ...]:
        try:
            with open("/proc/self/mountinfo", "rb") as file:
                return parse_mountinfo(file.read())
        except OSError:
            return ()

    def fd_stat(self, fd: int) -> tuple[Stat, int] | None:
        try:
            return _from_stat(os.fstat(fd)), fcntl.fcntl(fd, fcntl.F_GETFL)
        except (OSError, OverflowError):
            return None

    def fd_path(self, fd: int) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            return ""

    def fd_device(self, fd: int) -> str:
        known = self.fd_stat(fd)
        return self.fd_path(fd) if known and stat.S_ISCHR(known[0].mode) else ""

    def fd_socket(self, fd: int) -> tuple[int, int] | None:
        try:
            return libc.getsockopt(fd, *SO_DOMAIN), libc.getsockopt(fd, *SO_PROTOCOL)
        except OSError:
            return None

    def fd_unix_free(self, fd: int) -> bool:
        import socket  # noqa: PLC0415 (hardly any launch has one)

        with socket.socket(fileno=os.dup(fd)) as copy:
            if copy.type == socket.SOCK_DGRAM:
                return True
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return False
            try:
                copy.getpeername()
            except OSError:
                return True
            return False

    def launcher(self) -> tuple[str, ...]:
        package = os.path.dirname(os.path.abspath(__file__))
        prefixes = {sys.prefix, sys.base_prefix} - {"/", "/usr", "/usr/local"}
        libraries = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        return (package, *sorted(prefixes), *libraries)

    def rlimit(self, resource: int) -> tuple[int, int]:
        soft, hard = getrlimit(resource)
        return soft % 2**64, hard % 2**64  # Python says RLIM_INFINITY as -1


def home_of(host: Host, account: Account | None) -> str:
    """The home that `~` and `filesystem.home` mean: HOME for the caller itself, passwd(5) for another user; "" if none."""
    if account is None:
        return ""
    own = host.environ.get("HOME", "") if account.uid == host.uid else ""
    home = own if own.startswith("/") else account.home
    return home if home.startswith("/") else ""


def parse_mountinfo(data: bytes) -> tuple[Mount, ...]:
    """The lines of /proc/PID/mountinfo (proc_pid_mountinfo(5)), in the order in which they were mounted."""
    mounts = []
    for line in data.splitlines():
        words = line.split(b" ")
        if b"-" not in words[6:]:
            continue
        major, _, minor = words[2].partition(b":")
        fstype = words[words.index(b"-", 6) + 1]
        mounts.append(
            Mount(os.makedev(int(major), int(minor)), _unescape(words[3]), _unescape(words[4]), os.fsdecode(fstype))
        )
    return tuple(mounts)


def _unescape(field: bytes) -> str:
    """Space, tab, newline and backslash stand as three octal digits in mountinfo."""
    head, *rest = field.split(b"\\")
    return os.fsdecode(head + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in rest))


def _stat(path: str, *, follow: bool) -> Stat | None:
    try:
        return _from_stat(os.stat(path, follow_symlinks=follow))
    except (OSError, ValueError):
        return None


def _mode(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return 0


def _from_stat(found: os.stat_result) -> Stat:
    return Stat(found.st_mode, found.st_dev, found.st_ino, found.st_nlink, found.st_uid, found.st_gid)
