"""What can be enforced here, said by the code that plans: small profiles are resolved and their records are read. Pure.

A protection is looked at by a profile in which everything else may be lost, on a machine that has next to nothing on it,
so that the answer is about the kernel and the user and nothing else.
"""

from __future__ import annotations

import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun.doctor.rows import NO, OK, PARTIAL, Row
from sandrun.errors import CommandError, ProblemsError
from sandrun.host import Account, Stat
from sandrun.plan import subids
from sandrun.plan.draft import ENFORCED
from sandrun.plan.draft import PARTIAL as PARTLY
from sandrun.plan.resolve import resolve
from sandrun.profile import load
from sandrun.profile.keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sandrun.host import Host, Mount
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Protection
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile

RUNS, LOSES, REFUSED = "runs", "loses", "refused"
COMMAND = "/bin/sh"
Flags = tuple[tuple[str, str], ...]


class Check(NamedTuple):
    """A protection, and what a profile says to ask for it; what is refused to every command needs no asking.

    `about` picks from the notes of the record those with this word; `is_loss`: such a note is a loss.
    """

    name: str
    key: str
    flags: Flags = ()
    about: str = ""
    is_loss: bool = False


class Verdict(NamedTuple):
    """Whether a profile can be launched: RUNS, LOSES what it makes optional (in `lost`, by key), or REFUSED (why)."""

    name: str
    description: str
    state: str
    lost: tuple[tuple[str, str], ...] = ()
    why: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


OTHERS = tuple(key.path for key in KEYS if key.protection)
READ, WRITE, HOLE = ("filesystem.read", "/data"), ("filesystem.write", "/data"), ("filesystem.deny", "/data/file")
CHECKS: tuple[Check, ...] = (
    Check("read files", "filesystem.read"),
    Check("write files", "filesystem.write"),
    Check("execute files", "filesystem.execute"),
    Check("truncate files", "filesystem.write", (WRITE,), about="truncate"),
    Check("metadata, nothing writable", "filesystem.write"),
    Check("metadata, something writable", "filesystem.write", (WRITE,), about="chmod", is_loss=True),
    Check("ioctl(2) on devices", "filesystem.rules", (("filesystem.rules", "/data/file=ioctl_dev"),)),
    Check("deny in a readable tree", "filesystem.deny", (READ, HOLE)),
    Check("deny in a writable tree", "filesystem.deny", (WRITE, HOLE)),
    Check("deny writing in a writable tree", "filesystem.deny_write", (WRITE, ("filesystem.deny_write", "/data/file"))),
    Check("private temporary directory", "filesystem.tmp", (("filesystem.tmp", "private"),)),
    Check("hidden home", "filesystem.home", (("filesystem.read", "/"), ("filesystem.home", "hidden"))),
    Check("private home", "filesystem.home", (("filesystem.read", "/"), ("filesystem.home", "private"))),
    Check("no /proc", "filesystem.proc", (("filesystem.read", "/"), ("filesystem.proc", "none"))),
    Check("/proc of its own", "filesystem.proc", (("filesystem.proc", "own"),)),
    Check("minimal /dev", "filesystem.dev", (("filesystem.read", "/"), ("filesystem.dev", "minimal"))),
    Check("root directory of its own", "filesystem.root", (("filesystem.root", "/data"),)),
    Check("overlay", "filesystem.overlay", (("filesystem.overlay", "/data"),)),
    Check("no connecting", "network.connect"),
    Check("no listening", "network.bind"),
    Check("no unix sockets", "network.unix"),
    Check("connect to TCP ports", "network.connect", (("network.connect", "tcp:443"),)),
    Check("bind TCP ports", "network.bind", (("network.bind", "tcp:8080"),)),
    Check("send to UDP ports", "network.connect", (("network.connect", "udp:53"),)),
    Check("bind UDP ports", "network.bind", (("network.bind", "udp:5353"),)),
    Check("connect to one host", "network.connect", (("network.connect", "tcp:192.0.2.1:443"),)),
    Check("connect to one unix socket", "network.unix", (("network.unix", "/data/socket"),)),
    Check("loopback of its own", "network.loopback", (("network.loopback", "true"),)),
    Check("socket families", "network.families", (("network.families", "netlink"),)),
    Check("deny endpoints", "network.deny", (("network.deny", "*"),)),
    Check("syscalls", "syscalls", (("syscalls.deny", "@mount"),)),
    Check("syscalls of other architectures", "syscalls", (("syscalls.deny", "@mount"),)),
    Check("capabilities", "privileges.capabilities"),
    Check("no_new_privs", "privileges.no_new_privs"),
    Check("another user", "privileges.user", (("privileges.user", "65534"),)),
    Check("another group", "privileges.user", (("privileges.group", "65534"),)),
    Check("other groups", "privileges.user", (("privileges.groups", "65534"),)),
    Check("ambient capabilities", "privileges.capabilities", (("privileges.ambient", "CAP_NET_BIND_SERVICE"),)),
    Check("securebits", "privileges.securebits", (("privileges.securebits", "noroot"),)),
    Check("AppArmor profile", "privileges.apparmor", (("privileges.apparmor", "x"),)),
    Check("SELinux context", "privileges.selinux", (("privileges.selinux", "x"),)),
    Check("limits of setrlimit(2)", "rlimits.nofile", (("rlimits", "nofile=256"),)),
    Check("memory of the whole tree", "resources.memory", (("resources.memory", "1G"),)),
    Check("number of processes", "resources.pids", (("resources.pids", "100"),)),
    Check("processor time", "resources.cpu", (("resources.cpu", "50%"),)),
    Check("input and output a second", "resources.io", (("resources.io", "1M"),)),
    Check("environment", "environment.pass"),
    Check("inherited descriptors", "process.pass_fds"),
    Check("terminal, shared", "process.tty", (("process.tty", "protected"),)),
    Check("terminal, new session", "process.tty", (("process.tty", "new-session"),)),
    Check("terminal of its own", "process.tty", (("process.tty", "pty"),)),
    Check("signals to other processes", "process.isolate", (("process.isolate", "signals"),)),
    Check("view of other processes", "process.isolate", (("process.isolate", "true"),)),
    Check("time limit, end of the whole tree", "time.timeout", (("time.timeout", "1s"),)),
    Check("host name of its own", "process.hostname", (("process.hostname", "x"),)),
    Check("namespaces of its own", "process.namespaces", (("process.namespaces", "net"),)),
)
"""Every protection. A test holds that no key is missing that a kernel could fail to keep."""


def protections(kernel: Kernel, real: Host | None = None) -> tuple[Row, ...]:
    """How far each protection of CHECKS can be kept by this kernel and user, on `real` as to the user's ranges of ids."""
    host = Machine(kernel.uid, real)
    return tuple(_row(check, kernel, host) for check in CHECKS)


def verdict(profile: Profile, kernel: Kernel, host: Host, launch: Callable[[Resolution], Sequence[str]]) -> Verdict:
    """Whether this profile can be launched on this kernel and host.

    `launch` has the last word on what resolves: the lines of what goes wrong with it, if anything does.
    """
    refused = Verdict(profile.name, profile.description, REFUSED)
    try:
        resolution = resolve(profile, kernel, host, (COMMAND, "-c", ":"))
    except ProblemsError as error:
        return refused._replace(why=_once(map(str, error.problems)), hints=_hints(error))
    except CommandError as error:
        return refused._replace(why=(error.message,), hints=(error.hint,) if error.hint else ())
    trouble = launch(resolution)
    if trouble:
        return refused._replace(why=tuple(trouble))
    lost = tuple((one.key, text) for one in resolution.enforcement for text in one.lost)
    return refused._replace(state=LOSES if lost else RUNS, lost=lost)


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _hints(error: ProblemsError) -> tuple[str, ...]:
    return _once(problem.hint for problem in error.problems if problem.hint)


def _row(check: Check, kernel: Kernel, host: Host) -> Row:
    """Ask for the protection; where that is refused, ask what would be left of it if it were optional."""
    try:
        records = _ask(check, kernel, host)
    except ProblemsError as error:
        why = _once(problem.message for problem in error.problems)
        try:
            left = _ask(check, kernel, host, optional=(check.key,))
        except ProblemsError:
            left = ()
        kept = bool(left) and all(record.state == PARTLY for record in left)
        by = _once(name for record in left for name in record.mechanisms) if kept else ()
        return Row(check.name, PARTIAL if kept else NO, check.key, by, why, _hints(error))
    if not records or any(record.state != ENFORCED for record in records):
        return Row(check.name, NO, check.key, why=("nothing enforces it",))
    by = _once(name for record in records for name in record.mechanisms)
    notes = _once(note for record in records for note in record.notes if check.about and check.about in note)
    if notes and check.is_loss:
        return Row(check.name, PARTIAL, check.key, by, why=notes)
    return Row(check.name, OK, check.key, by, notes=notes)


def _ask(check: Check, kernel: Kernel, host: Host, optional: tuple[str, ...] = ()) -> tuple[Protection, ...]:
    """The records of the key that is checked. Raises ProblemsError."""
    others = [key for key in OTHERS if key not in (check.key, check.key.partition(".")[0])]
    profile = load(("none",), [(key, text, key) for key, text in check.flags], optional=(*others, *optional))
    resolution = resolve(profile, kernel, host, (COMMAND,))
    return tuple(record for record in resolution.enforcement if record.key == check.key)


DIRECTORY, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755


class Machine:
    """A Host with nothing on it but what CHECKS name; the user's home is /home/user.

    `real` answers which ids besides its own the user may map: that is given to the user, like a capability.
    """

    cwd = "/data"
    environ: Mapping[str, str] = {"PATH": "/bin", "HOME": "/home/user"}

    def __init__(self, uid: int, real: Host | None = None) -> None:
        self.uid = self.gid = uid
        self.real = real
        directories = ("/", "/bin", "/data", "/data/bin", "/data/work", "/dev", "/home", "/home/user", "/proc", "/tmp")  # noqa: S108
        files = (COMMAND, "/data" + COMMAND, "/data/file", "/data/socket")
        self.nodes = dict.fromkeys(directories, DIRECTORY) | dict.fromkeys(files, FILE)

    def account(self, user: str | int) -> Account | None:
        if not isinstance(user, int):
            return None
        known = self.real.account(user) if self.real and user == self.uid else None
        return Account(known.name if known else "", user, user, "/home/user", "")

    def group(self, group: str | int) -> int | None:
        return group if isinstance(group, int) else None

    def groups_of(self, account: Account) -> tuple[int, ...]:
        return (account.gid,)

    def lstat(self, path: str) -> Stat | None:
        mode = self.nodes.get(path)
        return None if mode is None else Stat(mode, 1, list(self.nodes).index(path) + 1, 1, self.uid, self.gid)

    def stat(self, path: str) -> Stat | None:
        return self.real.stat(path) if self.real and path in subids.FILES else self.lstat(path)

    def acl(self, path: str) -> bytes:
        return b""

    def readlink(self, path: str) -> str | None:
        return None

    def realpath(self, path: str) -> str:
        return posixpath.normpath(path)

    def listdir(self, path: str) -> list[str] | None:
        if self.nodes.get(path) != DIRECTORY:
            return None
        return sorted(posixpath.basename(one) for one in self.nodes if one != "/" and posixpath.dirname(one) == path)

    def read(self, path: str, limit: int, offset: int = 0) -> bytes | None:
        if self.real and path in subids.FILES:
            return self.real.read(path, limit, offset)
        return b"" if self.nodes.get(path) == FILE else None

    def modes(self, path: str) -> list[tuple[str, int]] | None:
        names = self.listdir(path)
        if names is None:
            return None
        return [(name, self.nodes[posixpath.join(path, name)]) for name in names]

    def mounts(self) -> tuple[Mount, ...]:
        return ()

    def fd_stat(self, fd: int) -> tuple[Stat, int] | None:
        return None

    def fd_path(self, fd: int) -> str:
        return ""

    def fd_device(self, fd: int) -> str:
        return ""

    def fd_socket(self, fd: int) -> tuple[int, int] | None:
        return None

    def fd_unix_free(self, fd: int) -> bool:
        return False

    def launcher(self) -> tuple[str, ...]:
        return ()

    def rlimit(self, resource: int) -> tuple[int, int]:
        return (2**64 - 1, 2**64 - 1)
