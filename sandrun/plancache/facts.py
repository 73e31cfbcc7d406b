"""What a resolution asked of the machine, written down: a Host that records each question with its answer."""

from __future__ import annotations

import os
import posixpath
import stat
import time
from _collections_abc import Mapping  # what collections.abc is, without its package, 1 ms of every launch

from sandrun import libc
from sandrun.host import Stat, System, parse_mountinfo
from sandrun.plancache import answers
from sandrun.plancache.answers import (
    CONTENT,
    DESCRIPTOR,
    DESCRIPTOR_PATH,
    DEVICE,
    ENV,
    EVERYTHING,
    FILE,
    HEAD,
    KERNEL,
    LISTDIR,
    LSTAT,
    MODES,
    NO_STAMP,
    READLINK,
    RLIMIT,
    SOCKET,
    STAT,
    STATUS,
    UNIX_FREE,
    WIDE,
    WORD,
)
from sandrun.rooted import canonical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.host import Account, Mount

SALT = 16
LONGEST_NAME = 4095
MOUNTINFO = "/proc/self/mountinfo"
OWN = (MOUNTINFO, *(f"/proc/self/{name}" for name in ("uid_map", "gid_map", "setgroups")))
"""What is asked of this process by the only way there is: who asks again is the one that launches, too."""
PASSWD, SWITCH = "/etc/passwd", "/etc/nsswitch.conf"
USERDB = ("/etc/userdb", "/run/userdb", "/run/host/userdb", "/usr/lib/userdb")
"""Where nss-systemd(8) reads accounts; below FIRST_MANAGED it has none from elsewhere."""
FIRST_MANAGED = 60_000
KERNEL_FILES = ("/proc/", "/sys/")
"""Their times say nothing, so their content is compared."""
CHANGING = ("self", "thread-self")
"""Names in /proc that are another process's each time, as all numbers are."""
GRAIN_NS = 2_000_000_000
"""The coarsest time of a file system in use (FAT)."""
TELLS_CHANGES = (0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0xCA451A4E, 0x01021994)
"""ext4, XFS, Btrfs, F2FS, bcachefs, tmpfs (statfs(2)): they set the ctime of a directory with each change of its names, and
nobody changes them but this kernel. Not overlays, whose lower trees others exchange, nor what a network or image brings."""


class Facts:
    """The facts so far, each once; `refusal` is why the resolution cannot be kept, "" while it can."""

    def __init__(self) -> None:
        self.salt = os.urandom(SALT)
        self.latest = _start_ns() - GRAIN_NS
        self._tells_changes: dict[int, bool] = {}
        self.known: dict[tuple[int, bytes], bytes] = {}
        self.refusal = ""

    def refuse(self, why: str) -> None:
        """Something was asked that nothing here holds."""
        self.refusal = self.refusal or why

    def add(self, kind: int, name: str, value: bytes) -> None:
        """The answer to a question; another one than before is a refusal."""
        data = encoded(name)
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
        self.add(FILE, path, answers.identity(answers.find(path, follow=True)))

    def add_content(self, path: str, limit: int = EVERYTHING) -> bytes | None:
        """What a small file of the kernel's says now: its first `limit` bytes, None if it cannot be read."""
        data = answers.read_content(path, limit)
        value = answers.content(limit, data)
        if path in OWN:
            self.known[CONTENT, os.fsencode(path)] = value
        else:
            self.add(CONTENT, path, value)
        return data

    def add_variable(self, name: str) -> None:
        """What a variable of the environment is, as nobody can read it from the entry."""
        self.add(ENV, name, answers.hidden(self.salt, os.environb.get(os.fsencode(name))))

    def stamp(self, path: str) -> bytes:
        """What spares listing a directory again while it is the same: it changed long ago, and if it changes that shows."""
        found = answers.find(path, follow=True)
        if found is None or found.st_ctime_ns > self.latest:
            return NO_STAMP
        if found.st_dev not in self._tells_changes:
            self._tells_changes[found.st_dev] = _tells_changes(path)
        return answers.stamp(found) if self._tells_changes[found.st_dev] else NO_STAMP

    def add_own_namespaces(self) -> None:
        """Which kinds of namespaces there are."""
        self.known[LISTDIR, b"/proc/self/ns"] = answers.ASK[LISTDIR](b"/proc/self/ns", b"", b"")

    def add_kernel(self) -> None:
        """What the kernel says of itself and of this process."""
        self.known[KERNEL, b""] = answers.kernel()

    def to_bytes(self) -> bytes:
        """All facts, each as cheap as it can be had, and those that take long last."""
        rows = sorted(_united(self.known).items(), key=lambda item: (item[0][0] in (LISTDIR, MODES, CONTENT), item[0]))
        return b"".join(HEAD.pack(kind, len(name), len(value)) + name + b"\0" + value for (kind, name), value in rows)


class Recorder(System):
    """The real Host, which writes down what it is asked."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._links: dict[str, str | None] = {}

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

    def acl(self, path: str) -> bytes:
        self.facts.refuse("an access control list was asked for")
        return super().acl(path)

    def readlink(self, path: str) -> str | None:
        target = super().readlink(path)
        self.facts.add(READLINK, path, os.fsencode(target or ""))
        return target

    def realpath(self, path: str) -> str:
        """The same path, found a name at a time, each of which becomes a fact."""
        whole = path if path.startswith("/") else posixpath.join(self.cwd, path)
        real = canonical(whole, self._link) if whole.startswith("/") else None
        if real is None:
            self.facts.refuse(f"{path} leads round in a circle, or from no working directory")
            return super().realpath(path)
        return real

    def _link(self, path: str) -> str | None:
        """`readlink`, asked once a name: most names on the way of one path are on that of many."""
        if path not in self._links:
            self._links[path] = self.readlink(path)
        return self._links[path]

    def listdir(self, path: str) -> list[str] | None:
        stamp = self.facts.stamp(path)
        names = super().listdir(path)
        self.facts.add(LISTDIR, path, answers.names(None if names is None else map(encoded, names), stamp))
        return names

    def modes(self, path: str) -> list[tuple[str, int]] | None:
        stamp = self.facts.stamp(path)
        found = super().modes(path)
        rows = None if found is None else [(encoded(name), mode) for name, mode in found]
        self.facts.add(MODES, path, answers.modes(rows, stamp))
        return found

    def read(self, path: str, limit: int, offset: int = 0) -> bytes | None:
        if path.startswith(KERNEL_FILES):
            if offset:
                self.facts.refuse(f"{path} is read from its middle")
            return self.facts.add_content(path, limit)
        before = answers.identity(answers.find(path, follow=True))
        data = super().read(path, limit, offset)
        if answers.identity(answers.find(path, follow=True)) != before:
            self.facts.refuse(f"{path} changed meanwhile")
        self.facts.add(FILE, path, before)
        return data

    def mounts(self) -> tuple[Mount, ...]:
        return parse_mountinfo(self.facts.add_content(MOUNTINFO) or b"")

    def fd_stat(self, fd: int) -> tuple[Stat, int] | None:
        """The kind alone: that is all a plan may depend on."""
        found = super().fd_stat(fd)
        if found is None:
            self.facts.add_number(DESCRIPTOR, fd, b"")
            return None
        kind = answers.descriptor_kind(found[0].mode, found[1])
        self.facts.add_number(DESCRIPTOR, fd, answers.descriptor(found[0].mode, found[1]))
        return Stat(kind, 0, 0, 0, 0, 0), os.O_RDWR if stat.S_ISREG(kind) else os.O_RDONLY

    def fd_path(self, fd: int) -> str:
        path = super().fd_path(fd)
        self.facts.add_number(DESCRIPTOR_PATH, fd, os.fsencode(path))
        return path

    def fd_device(self, fd: int) -> str:
        known = System().fd_stat(fd)
        path = super().fd_path(fd) if known and stat.S_ISCHR(known[0].mode) else ""
        self.facts.add_number(DEVICE, fd, os.fsencode(path))
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


def encoded(name: str) -> bytes:
    """As os.fsencode, whose own lookups take longer: nothing is kept under another encoding (`keep.begin`)."""
    return name.encode("utf-8", "surrogateescape")


def _tells_changes(path: str) -> bool:
    try:
        return libc.statfs(os.fsencode(path)) in TELLS_CHANGES
    except OSError:
        return False


def _start_ns() -> int:
    """When this process began, by the clock that stamps files (proc_pid_stat(5), starttime)."""
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    up = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.time_ns() - up + ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _united(known: Mapping[tuple[int, bytes], bytes]) -> dict[tuple[int, bytes], bytes]:
    """The facts without those that lstat(2) of the same path tells as well: what is no link is itself, and leads nowhere."""
    found = dict(known)
    for kind, name in known:
        if kind != READLINK or known[kind, name]:
            continue
        seen = known.get((LSTAT, name), known.get((STAT, name)))
        if seen is not None:
            del found[READLINK, name]
            found[LSTAT, name] = seen
    for kind, name in known:
        seen = found.get((LSTAT, name))
        if kind == STAT and seen is not None and not _is_link(seen):
            del found[STAT, name]
    return found


def _is_link(status: bytes) -> bool:
    return bool(status) and stat.S_ISLNK(STATUS.unpack(status)[0])


def _is_changing(path: str) -> bool:
    if not path.startswith("/proc/"):
        return False
    name = path.split("/", 3)[2]
    return name in CHANGING or name.isdecimal()


def _without_links(found: Stat | None) -> Stat | None:
    """How many directories a directory has is of no interest, and changes."""
    if found is None or not stat.S_ISDIR(found.mode):
        return found
    return Stat(found.mode, found.dev, found.ino, 0, found.uid, found.gid)


def _status(found: Stat | None) -> bytes:
    return STATUS.pack(found.mode, found.uid, found.gid, found.nlink, found.dev, found.ino) if found else b""


def _is_in_file(account: Account | None) -> bool:
    """Whether it is what passwd(5) says, and no other service had a word in it (nsswitch.conf(5))."""
    if account is None:
        return False
    switch = (line.strip() for line in (answers.read_content(SWITCH, EVERYTHING) or b"").splitlines())
    services = next((line.split()[1:] for line in switch if line.startswith(b"passwd:")), [b"files"])
    name, number = os.fsencode(account.name), b"%d" % account.uid
    for line in (answers.read_content(PASSWD, EVERYTHING) or b"").splitlines():
        fields = line.split(b":")
        if len(fields) == 7 and (fields[0] == name or fields[2] == number):
            known = (name, number, b"%d" % account.gid, os.fsencode(account.home), os.fsencode(account.shell))
            return (*fields[:1], *fields[2:4], *fields[5:]) == known and services[:1] == [b"files"]
    return not name and account.uid < FIRST_MANAGED and set(services) <= {b"files", b"systemd"}
