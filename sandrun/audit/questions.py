"""What stands against one act of the command under a plan: the few questions that an audit asks. Pure, over a Host.

Each answer is a tuple of mechanisms, every one of which alone is enough; none means that nothing stands against it. All
is asked of the resolved plan: path rules as `plan.filesystem.allowed` reads them, the seccomp programs as the kernel
will run them, namespaces, mounts, limits, ids and capabilities. The profile is not looked at.

Where an answer depends on what a plan cannot know (the caller's groups), it errs towards "nothing stands against it".
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple, cast

from sandrun.audit import bpf
from sandrun.host import home_of
from sandrun.plan.filesystem import allowed
from sandrun.plan.format import KEEP, TTY_INHERIT, TTY_NEW_SESSION, TTY_PTY, Plan
from sandrun.plan.limits import dumps_are_piped
from sandrun.plan.siblings import is_below
from sandrun.policy import syscalls
from sandrun.policy.guards import CLONE_NEW, IPPROTO_TCP, SOCK_STREAM, TIOCLINUX, TIOCSTI
from sandrun.primitives import caps
from sandrun.primitives.landlock import FS, SCOPES
from sandrun.primitives.seccomp import ALLOW, LOG
from sandrun.primitives.view import (
    DEVICES,
    READ_ONLY,
    VIEW_BIND,
    VIEW_CHROOT,
    VIEW_DIRECTORY,
    VIEW_FILE,
    VIEW_OVERLAY,
    VIEW_PROC,
    VIEW_ROOT,
    VIEW_SYMLINK,
    VIEW_TREE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.host import Host, Stat
    from sandrun.kernel import Kernel
    from sandrun.plan.resolve import Resolution

AF_UNIX, SOCK_DGRAM, SOCK_RAW = 1, 2, 3  # socket(2)
RLIMIT_CORE = 4
SHOWING = (VIEW_BIND, VIEW_ROOT, VIEW_CHROOT)
MADE = (VIEW_DIRECTORY, VIEW_FILE, VIEW_SYMLINK)
"""Records of the view that make something in a filesystem of its own."""
ALL_FS = sum(FS.values())
WRITE = FS["write_file"] | sum(right for name, right in FS.items() if name.startswith(("make_", "remove_")))
"""Who may make and remove beside a file may put another in its place."""
READ = FS["read_file"] | FS["read_dir"]
OTHERS_WRITE, OTHERS_READ = 0o022, 0o044

Walls = tuple[str, ...]
Call = tuple[str, tuple[int, ...]]
"""A syscall by name, and arguments that stand for what is meant; those left out are 0."""


class _Shown(NamedTuple):
    """A place of the view at which a file of the host can be reached."""

    path: str
    read_only: bool = False
    devices: bool = True


class Questions:
    """The questions, of one resolution on one kernel and host."""

    def __init__(self, resolution: Resolution, kernel: Kernel, host: Host) -> None:
        self.plan: Plan = resolution.plan
        self.host = host
        self._remembering = cast("Host", _Remembering(host))
        self.arch = kernel.arch
        account = resolution.account
        self.uid = _outside(self.plan, host)
        self.home = home_of(host, account)

    # --- kernel -----------------------------------------------------------------------------------------------------

    def against_calls(self, *calls: Call) -> Walls:
        """Against every one of these syscalls."""
        return ("seccomp",) if all(self.is_refused(*call) for call in calls) else ()

    def is_refused(self, name: str, arguments: tuple[int, ...] = ()) -> bool:
        """Whether the filters refuse the syscall with these arguments; one that this architecture lacks is."""
        number = syscalls.number(name, self.arch)
        if number is None:
            return True
        return bpf.answer(self.plan.seccomp, self.arch, number, arguments) not in (ALLOW, LOG)

    def has_namespace(self, *names: str) -> Walls:
        """The namespaces among these ("ipc", "pid", "net", ...) that the command gets of its own."""
        words = {"net": "network", "NS": "mount"}
        return tuple(
            f"{words.get(name, name)} namespace"
            for name in names
            if self.plan.namespaces & CLONE_NEW[f"CLONE_NEW{name.upper()}"]
        )

    def lacks(self, *names: str) -> Walls:
        """The command has none of these capabilities over the host."""
        kept = 0 if self.plan.namespaces & CLONE_NEW["CLONE_NEWUSER"] else self.plan.permitted
        return () if kept & caps.mask(names) else ("capabilities",)

    def has_sysctl(self, name: str, *values: str) -> Walls:
        """The sysctl has one of these values, with which the kernel refuses what it is about to all but administrators."""
        value = (self.host.read(f"/proc/sys/{name}", 16) or b"").decode("ascii", "replace").strip()
        return ("sysctl",) if value in values and self.lacks("CAP_SYS_ADMIN", "CAP_BPF") else ()

    def has_domain(self) -> Walls:
        """Any Landlock ruleset keeps processes outside of it from being traced (landlock(7))."""
        return ("landlock",) if self.plan.landlock_abi else ()

    def is_scoped(self, scope: str) -> Walls:
        """Landlock's scope of this name is in force."""
        return ("landlock",) if self.plan.landlock_scoped & SCOPES[scope] else ()

    def against_core_dumps(self) -> Walls:
        """A limit of 0 is not asked where the kernel pipes the dump to a program (core(5)).

        There 1 stops it, and the command must not be able to make a 0 of that.
        """
        hard = self.host.rlimit(RLIMIT_CORE)[1]
        for number, _, most in self.plan.rlimits:
            hard = min(hard, most) if number == RLIMIT_CORE else hard
        if dumps_are_piped(self.host):
            lowering = self.against_calls(("setrlimit", (RLIMIT_CORE,)), ("prlimit64", (0, RLIMIT_CORE, 1)))
            return ("rlimits",) if hard == 1 and lowering else ()
        return ("rlimits",) if hard <= 1 else ()

    def against_typing(self) -> Walls:
        """Against input that is put into the caller's terminal."""
        own = {TTY_PTY: ("pseudoterminal",), TTY_NEW_SESSION: ("setsid",)}.get(self.plan.tty, ())
        calls = self.against_calls(("ioctl", (0, TIOCSTI)), ("ioctl", (0, TIOCLINUX)))
        return (*calls, *own, *self.has_sysctl("dev/tty/legacy_tiocsti", "0"))

    def terminal_is_shared(self) -> bool:
        """Whether the profile asked to leave the terminal as it is."""
        return self.plan.tty == TTY_INHERIT

    # --- sockets ----------------------------------------------------------------------------------------------------

    def against_sockets(self, *families: int, kinds: Iterable[int] = (SOCK_STREAM, SOCK_DGRAM, SOCK_RAW)) -> Walls:
        """Against every socket of these address families and types."""
        return self.against_calls(*(("socket", (family, kind)) for family in families for kind in kinds))

    def against_unix(self, path: str | None = None) -> Walls:
        """Against connecting to the unix socket at a path, or to any that has a path."""
        calls = [("socket", (AF_UNIX, kind)) for kind in (SOCK_STREAM, SOCK_DGRAM)]
        # A pair of datagram sockets can be sent from to any path.
        walls = self.against_calls(*calls, ("socketpair", (AF_UNIX, SOCK_DGRAM)))
        if path is None:
            return walls
        return (*walls, *self._against(path, FS["resolve_unix"], OTHERS_WRITE))

    def relayed(self) -> frozenset[int]:
        """The protocols, as of ip(7), in which a relay serves the command's network namespace."""
        if not self.plan.egress:
            return frozenset()
        return frozenset(number for number, _, _, _ in Plan.from_bytes(self.plan.egress).relay_rules)

    def brokered(self) -> frozenset[int]:
        """The protocols in which the supervisor makes the connections, and the command none."""
        return frozenset((IPPROTO_TCP,)) if self.plan.broker_filter else frozenset()

    def against_abstract(self) -> Walls:
        """Against connecting to unix sockets without a path."""
        scope = self.is_scoped("abstract_unix_socket")
        return tuple(dict.fromkeys((*self.against_unix(), *scope, *self.has_namespace("net"))))

    # --- files ------------------------------------------------------------------------------------------------------

    def against_write(self, path: str) -> Walls:
        """Against changing what is at a path of the host, or, of a directory or what is absent, making it."""
        walls = self._against(path, WRITE, OTHERS_WRITE, makes=True)
        shown = self._shown(self.host.realpath(path))
        return (*walls, "read-only mount") if shown and all(place.read_only for place in shown) else walls

    def against_read(self, path: str) -> Walls:
        """Against reading what is at a path of the host, or listing it."""
        return self._against(path, READ, OTHERS_READ)

    def against_device(self, path: str) -> Walls:
        """Against opening a device, to read or to write."""
        writing, reading = self.against_write(path), self.against_read(path)
        walls = tuple(name for name in writing if name in reading)
        shown = self._shown(self.host.realpath(path))
        return (*walls, "nodev mount") if shown and not any(place.devices for place in shown) else walls

    def against_metadata(self) -> Walls:
        """Against chmod(2), chown(2), utime(2) and setxattr(2) on files that are granted to nobody."""
        names = ("chmod", "fchmodat", "fchmodat2", "fchmod", "fchownat", "utimensat", "setxattr", "fsetxattr")
        tree = any(
            operation in (VIEW_TREE, VIEW_ROOT) and flags & READ_ONLY for operation, flags, _, _ in self.plan.view
        )
        return (*self.against_calls(*((name, ()) for name in names)), *(("read-only mount",) if tree else ()))

    def handles_writing(self) -> bool:
        """Whether the path rules say which files can be written; else all can."""
        return bool(self.plan.landlock_fs & FS["write_file"])

    def exists(self, path: str) -> bool:
        return self.host.lstat(path) is not None

    def _against(self, path: str, rights: int, modes: int, *, makes: bool = False) -> Walls:
        """`makes`: what is absent may be made, and what is there replaced, by whoever may change a directory above it."""
        real = self.host.realpath(path)
        shown = self._shown(real)
        if not shown:
            return ("mount namespace",)
        at = real
        while not self.exists(at) and at != "/":
            at = posixpath.dirname(at)
        walls: Walls = () if self._rights(at, shown) & rights else ("landlock",)
        if makes or at == real:
            kept_out = self._is_kept_out(self.host.lstat(at), modes)
            while makes and kept_out and at != "/":
                at = posixpath.dirname(at)
                above = self.host.lstat(at)
                is_sticky = above is not None and above.mode & stat.S_ISVTX and above.uid != self.uid
                kept_out = bool(is_sticky) or self._is_kept_out(above, modes)
            walls += ("file modes",) if kept_out else ()
        return walls

    def _rights(self, path: str, shown: Iterable[_Shown]) -> int:
        rights = ~self.plan.landlock_fs & ALL_FS | allowed(self.plan.path_rules, path, self._remembering)
        for place in shown:
            rights |= allowed(self.plan.view_rules, place.path)
        return rights

    def _is_kept_out(self, found: Stat | None, modes: int) -> bool:
        """Whether owner and mode refuse. A group may be the command's, so its bits count as everybody's."""
        if found is None or found.uid == self.uid or found.mode & modes:
            return False
        return bool(self.lacks("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER"))

    def _shown(self, path: str) -> tuple[_Shown, ...]:
        """Where the command finds a file of the host: at its own path without a view, nowhere if that hides it."""
        if not self.plan.view:
            return (_Shown(path),)
        candidates = [path]
        for operation, _, at, source in self.plan.view:
            if operation in SHOWING and is_below(path, os.fsdecode(source)):
                candidates.append(posixpath.join(os.fsdecode(at), posixpath.relpath(path, os.fsdecode(source))))
        found = {posixpath.normpath(candidate): None for candidate in candidates}
        return tuple(place for place in (self._place(candidate, path) for candidate in found) if place is not None)

    def _place(self, at: str, path: str) -> _Shown | None:
        """What the last record that covers `at` shows there; None if it is not the host's `path`."""
        place: _Shown | None = _Shown(at) if at == path else None
        for operation, flags, point, source in self.plan.view:
            if operation in MADE or not is_below(at, os.fsdecode(point)):
                continue
            if operation in SHOWING:
                shown = posixpath.normpath(
                    posixpath.join(os.fsdecode(source), posixpath.relpath(at, os.fsdecode(point)))
                )
                place = _Shown(at, *_attributes(flags)) if shown == path else None
            elif operation == VIEW_TREE:
                place = _Shown(at, *_attributes(flags)) if place else None
            elif operation == VIEW_PROC:
                # The same sysctls by another door, and none of the same processes.
                of_process = path.removeprefix("/proc/").partition("/")[0].isdecimal()
                place = _Shown(at, *_attributes(flags)) if at == path and not of_process else None
            elif operation == VIEW_OVERLAY:
                place = place._replace(read_only=True) if place else None
            else:
                place = None
        return place


def _outside(plan: Plan, host: Host) -> int:
    """The command's uid as files have it: on the host, if it is another one in a user namespace."""
    if plan.uid == KEEP:
        return host.uid
    rows = (line.split() for line in plan.uid_map.splitlines())
    return next((int(outside) for inside, outside, _ in rows if int(inside) == plan.uid), plan.uid)


def _attributes(flags: int) -> tuple[bool, bool]:
    return bool(flags & READ_ONLY), bool(flags & DEVICES)


class _Remembering:
    """What `allowed` needs of a Host, asked for each file once: the same rules are held against many paths."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, Stat | None] = {}

    def lstat(self, path: str) -> Stat | None:
        if path not in self._known:
            self._known[path] = self._host.lstat(path)
        return self._known[path]
