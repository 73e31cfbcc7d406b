"""What a resolution asked of the machine, written down: a Host that records each question with its answer.

A fact is `kind:u8 name:u16 value:u32`, the name, a NUL and the value, in the machine's own byte order.
sandrun/native/facts.c asks the same questions again and compares the bytes.
"""

from __future__ import annotations

import os
import posixpath
import stat
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sandrun import libc
from sandrun.host import Stat, System, parse_mountinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandrun.host import Account, Mount

LSTAT, STAT, READLINK, LISTDIR, MODES, FILE, CONTENT, ENV, RLIMIT = range(1, 10)
DESCRIPTOR, DESCRIPTOR_PATH, SOCKET, UNIX_FREE, KERNEL = range(10, 15)
HEAD = struct.Struct("=BHI")
STATUS = struct.Struct("=IIIIQQ")
"""mode, uid, gid, links, device, inode"""
IDENTITY = struct.Struct("=IIIQQQQQ")
"""mode, uid, gid, device, inode, size, mtime, ctime"""
SALT = 16
LONGEST_NAME = 4095
MOST = 2**32 - 1
MOUNTINFO = "/proc/self/mountinfo"
PASSWD, SWITCH = "/etc/passwd", "/etc/nsswitch.conf"
USERDB = ("/etc/userdb", "/run/userdb", "/run/host/userdb", "/usr/lib/userdb")
"""Where nss-systemd(8) reads accounts; below FIRST_MANAGED it has none from elsewhere."""
FIRST_MANAGED = 60_000
KERNEL_FILES = ("/proc/", "/sys/")
"""Their times say nothing, so their content is compared."""
CHANGING = ("self", "thread-self")
"""Names in /proc that are another process's each time, as all numbers are."""
MOST_LINKS = 40
WORD, WIDE = struct.Struct("=I"), struct.Struct("=Q")
RET_ERRNO = WORD.pack(0x00050000)


class Facts:
    """The facts so far, each once; `refusal` is why the resolution cannot be kept, "" while it can."""

    def __init__(self) -> None:
        self.salt = os.urandom(SALT)
        self.known: dict[tuple[int, bytes], bytes] = {}
        self.refusal = ""

    def refuse(self, why: str) -> None:
        """Something was asked that nothing here holds."""
        self.refusal = self.refusal or why

    def add(self, kind: int, name: str, value: bytes) -> None:
        """The answer to a question; another one than before is a refusal."""
        data = os.fsencode(name)
        if len(data) > LONGEST_NAME or b"\0" in data:
            self.refuse(f"not a name to ask for: {name!r}")
        elif kind <= CONTENT and _is_changing(name):
            self.refuse(f"{name} is another file in each process")
        elif self.known.setdefault((kind, data), value) != value:
            self.refuse(f"{name} changed meanwhile")

    def add_number(self, kind: int, number: int, value: bytes) -> None:
        """The answer to a question about a descriptor or a limit."""
        data = WORD.pack(number) + value
        if self.known.setdefault((kind, b"%d" % number), data) != data:
            self.refuse(f"descriptor or limit {number} changed meanwhile")

    def add_file(self, path: str) -> None:
        """Which file a path leads to now, or that it leads to none."""
        try:
            found = os.stat(path)
        except OSError:
            self.add(FILE, path, b"")
        else:
            self.add(FILE, path, identity(found))

    def add_content(self, path: str, limit: int = MOST) -> bytes | None:
        """What a small file of the kernel's says now: its first `limit` bytes, None if it cannot be read."""
        data = _content(path, limit)
        value = WORD.pack(limit) + (b"\0" if data is None else b"\1" + data)
        # The one way to ask for the mounts of this process.
        if path == MOUNTINFO:
            self.known[CONTENT, os.fsencode(path)] = value
        else:
            self.add(CONTENT, path, value)
        return data

    def add_variable(self, name: str) -> None:
        """What a variable of the environment is, as nobody can read it from the entry."""
        value = os.environb.get(os.fsencode(name))
        self.add(ENV, name, b"" if value is None else digest(self.salt + value))

    def add_own_namespaces(self) -> None:
        """Which kinds of namespaces there are."""
        path = "/proc/self/ns"
        self.known[LISTDIR, os.fsencode(path)] = _names(System().listdir(path))

    def add_kernel(self) -> None:
        """What the kernel says of itself and of this process."""
        system = os.uname()
        names = (system.release, system.version, system.machine)
        results = (
            lambda: libc.landlock_create_ruleset(None, libc.LANDLOCK_CREATE_RULESET_VERSION),
            lambda: libc.seccomp(libc.SECCOMP_GET_ACTION_AVAIL, 0, RET_ERRNO),
            lambda: libc.prctl(libc.PR_GET_SECCOMP),
            lambda: libc.prctl(libc.PR_GET_SECUREBITS),
            lambda: libc.prctl(libc.PR_GET_NO_NEW_PRIVS),
        )
        value = b"".join(os.fsencode(name) + b"\0" for name in names)
        value += b"".join(struct.pack("=q", _result(ask)) for ask in results)
        self.known[KERNEL, b""] = value + b"".join(map(WIDE.pack, libc.capget()))

    def to_bytes(self) -> bytes:
        """All facts, those that differ soonest first."""
        rows = sorted(self.known.items(), key=lambda item: (item[0][0] in (LISTDIR, MODES, CONTENT), item[0]))
        return b"".join(HEAD.pack(kind, len(name), len(value)) + name + b"\0" + value for (kind, name), value in rows)


class Recorder(System):
    """The real Host, which writes down what it is asked."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @property
    def environ(self) -> Mapping[str, str]:
        return _Environment(self.facts)

    def account(self, user: str | int) -> Account | None:
        found = super().account(user)
        self.facts.add_file(PASSWD)
        self.facts.add_file(SWITCH)
        if found and not found.name:
            for directory in USERDB:
                self.facts.add_file(directory)
        if not _is_in_file(found):
            self.facts.refuse(f"the account {user} is not the one in {PASSWD}")
        return found

    def group(self, group: str | int) -> int | None:
        if not isinstance(group, int):
            self.facts.refuse("groups are looked up by name")
        return super().group(group)

    def groups_of(self, account: Account) -> tuple[int, ...]:
        self.facts.refuse("groups of an account are looked up")
        return super().groups_of(account)

    def lstat(self, path: str) -> Stat | None:
        found = _without_links(super().lstat(path))
        self.facts.add(LSTAT, path, _status(found))
        return found

    def stat(self, path: str) -> Stat | None:
        found = _without_links(super().stat(path))
        self.facts.add(STAT, path, _status(found))
        return found

    def readlink(self, path: str) -> str | None:
        target = super().readlink(path)
        self.facts.add(READLINK, path, os.fsencode(target or ""))
        return target

    def realpath(self, path: str) -> str:
        real = super().realpath(path)
        if real != self._walk(path):
            self.facts.refuse(f"{path} leads elsewhere each time, or in a circle")
        return real

    def _walk(self, path: str) -> str:
        """Where a path leads; each name on the way becomes a fact."""
        left = posixpath.join(self.cwd, path).split("/")[::-1]
        done = "/"
        links = 0
        while left:
            name = left.pop()
            if name == "..":
                done = posixpath.dirname(done)
            if name in ("", ".", ".."):
                continue
            here = posixpath.join(done, name)
            target = self.readlink(here)
            if target is None:
                done = here
                continue
            links += 1
            if links > MOST_LINKS:
                return ""
            done = "/" if target.startswith("/") else done
            left += target.split("/")[::-1]
        return done

    def listdir(self, path: str) -> list[str] | None:
        names = super().listdir(path)
        self.facts.add(LISTDIR, path, _names(names))
        return names

    def modes(self, path: str) -> list[tuple[str, int]] | None:
        found = super().modes(path)
        rows = sorted((os.fsencode(name), mode) for name, mode in found or ())
        value = b"".join(name + b"\0" + WORD.pack(mode) for name, mode in rows)
        self.facts.add(MODES, path, b"" if found is None else b"\1" + value)
        return found

    def read(self, path: str, limit: int, offset: int = 0) -> bytes | None:
        if path.startswith(KERNEL_FILES):
            if offset:
                self.facts.refuse(f"{path} is read from its middle")
            return self.facts.add_content(path, limit)
        before = _identity_of(path)
        data = super().read(path, limit, offset)
        if _identity_of(path) != before:
            self.facts.refuse(f"{path} changed meanwhile")
        self.facts.add(FILE, path, before)
        return data

    def mounts(self) -> tuple[Mount, ...]:
        return parse_mountinfo(self.facts.add_content(MOUNTINFO) or b"")

    def fd_stat(self, fd: int) -> tuple[Stat, int] | None:
        """The kind and the direction alone: that is all a plan may depend on."""
        found = super().fd_stat(fd)
        if found is None:
            self.facts.add_number(DESCRIPTOR, fd, b"")
            return None
        kind, direction = stat.S_IFMT(found[0].mode), found[1] & os.O_ACCMODE
        self.facts.add_number(DESCRIPTOR, fd, WORD.pack(kind) + WORD.pack(direction))
        return Stat(kind, 0, 0, 0, 0, 0), direction

    def fd_path(self, fd: int) -> str:
        path = super().fd_path(fd)
        self.facts.add_number(DESCRIPTOR_PATH, fd, os.fsencode(path))
        return path

    def fd_socket(self, fd: int) -> tuple[int, int] | None:
        found = super().fd_socket(fd)
        value = b"" if found is None else b"".join(WORD.pack(number) for number in found)
        self.facts.add_number(SOCKET, fd, value)
        return found

    def fd_unix_free(self, fd: int) -> bool:
        free = super().fd_unix_free(fd)
        self.facts.add_number(UNIX_FREE, fd, bytes((free,)))
        return free

    def rlimit(self, resource: int) -> tuple[int, int]:
        limits = super().rlimit(resource)
        self.facts.add_number(RLIMIT, resource, b"".join(map(WIDE.pack, limits)))
        return limits


class _Environment(Mapping[str, str]):
    """The environment, of which each value that is asked for becomes a fact. The names are in the key of the entry."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __getitem__(self, name: str) -> str:
        self._facts.add_variable(name)
        return os.environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)


def digest(data: bytes) -> bytes:
    """SHA-256."""
    from hashlib import sha256  # noqa: PLC0415 (2 ms that only a launch which is kept pays)

    return sha256(data).digest()


def identity(found: os.stat_result) -> bytes:
    """Which file this is, and as of when."""
    ids = (found.st_mode, found.st_uid, found.st_gid, found.st_dev, found.st_ino, found.st_size)
    return IDENTITY.pack(*ids, found.st_mtime_ns % 2**64, found.st_ctime_ns % 2**64)


def _identity_of(path: str) -> bytes:
    try:
        return identity(os.stat(path))
    except (OSError, ValueError):
        return b""


def _is_changing(path: str) -> bool:
    parts = path.split("/")
    return path.startswith("/proc/") and (parts[2] in CHANGING or parts[2].isdecimal())


def _without_links(found: Stat | None) -> Stat | None:
    """How many directories a directory has is of no interest, and changes."""
    return found._replace(nlink=0) if found is not None and stat.S_ISDIR(found.mode) else found


def _status(found: Stat | None) -> bytes:
    return STATUS.pack(found.mode, found.uid, found.gid, found.nlink, found.dev, found.ino) if found else b""


def _names(names: list[str] | None) -> bytes:
    return b"" if names is None else b"\1" + b"".join(name + b"\0" for name in sorted(map(os.fsencode, names)))


def _content(path: str, limit: int) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    parts = []
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        while limit and (part := os.read(fd, min(limit, 1 << 16))):
            parts.append(part)
            limit -= len(part)
    except OSError:
        return None
    finally:
        os.close(fd)
    return b"".join(parts)


def _result(ask: Callable[[], int | None]) -> int:
    try:
        return ask() or 0
    except OSError as error:
        return -(error.errno or 0)


def _is_in_file(account: Account | None) -> bool:
    """Whether it is what passwd(5) says, and no other service had a word in it (nsswitch.conf(5))."""
    if account is None:
        return False
    switch = (line.strip() for line in (_content(SWITCH, MOST) or b"").splitlines())
    services = next((line.split()[1:] for line in switch if line.startswith(b"passwd:")), [b"files"])
    name, number = os.fsencode(account.name), b"%d" % account.uid
    for line in (_content(PASSWD, MOST) or b"").splitlines():
        fields = line.split(b":")
        if len(fields) == 7 and (fields[0] == name or fields[2] == number):
            known = (name, number, b"%d" % account.gid, os.fsencode(account.home), os.fsencode(account.shell))
            return (*fields[:1], *fields[2:4], *fields[5:]) == known and services[:1] == [b"files"]
    return not name and account.uid < FIRST_MANAGED and set(services) <= {b"files", b"systemd"}
