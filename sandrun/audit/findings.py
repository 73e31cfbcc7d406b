"""The audit: for each kind of state, what closes it to the command, which grant opens it, or that nobody closed it.

CLOSED names every mechanism that alone would do. GRANTED is open because a key of the profile says so, and names who
wrote it. OPEN is neither: nothing stands against it, and nobody asked for it. Pure, over `Questions`.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, NamedTuple

from sandrun.audit import places
from sandrun.audit.calls import CALLS
from sandrun.audit.questions import SOCK_DGRAM, SOCK_RAW, WRITE, Walls
from sandrun.plan import trusted
from sandrun.plan.draft import ENFORCED
from sandrun.plan.format import KIND_DIRECTORY, MAY_VANISH
from sandrun.policy.families import FAMILIES
from sandrun.policy.guards import SOCK_STREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sandrun.audit.calls import Row
    from sandrun.audit.questions import Call, Questions
    from sandrun.plan.draft import Protection

LATER = "run later by others"
CLOSED, GRANTED, OPEN = "closed", "granted", "open"
BY_DEFAULT = "the default"
NOBODY = "nothing closes it, and nothing grants it"
WRITING = ("filesystem.write", "filesystem.create", "filesystem.rules")
BY_PLACE = {
    # keys that grant a place by one word
    "filesystem.tmp": ("/tmp", "/var/tmp", "/dev/shm"),  # noqa: S108 (names to compare with)
    "filesystem.dev": ("/dev",),
    "filesystem.proc": ("/proc",),
}
IPPROTO_TCP, IPPROTO_UDP = 6, 17
NETWORK = ("network.connect", "network.bind", "network.families")
CAPABILITIES = ("privileges.capabilities", "privileges.ambient")
SET_ID = 0o4755
CREATE = 0o101


class Finding(NamedTuple):
    """One line: what, whether it is open, the mechanisms or grants that decide, and the places or calls it is about."""

    topic: str
    name: str
    state: str
    by: tuple[str, ...]
    where: tuple[str, ...] = ()
    why: str = ""


OTHER_FAMILIES = ("packet", "vsock", "bluetooth", "can", "tipc", "alg", "xdp", "rds", "key")


class Audit:
    """The findings of one plan, with the record that says who asked for what."""

    def __init__(self, questions: Questions, enforcement: Iterable[Protection]) -> None:
        self.ask = questions
        self.records = tuple(enforcement)

    def findings(self) -> list[Finding]:
        """Every line, in the order of their topics."""
        return [
            *self._files(),
            *self._places(LATER, places.RUN_LATER),
            self._paths(LATER, "sandrun's own", trusted.places(self.ask.host), self.ask.against_write, self._who),
            *self._links(),
            *self._places("shared places", places.SHARED),
            *(self._calls(row) for row in CALLS if row.topic == "shared memory"),
            *self._sockets(),
            *self._processes(),
            *self._terminal(),
            *self._devices(),
            *self._places("kernel", places.KNOBS),
            *(self._calls(row) for row in CALLS if row.topic == "kernel"),
        ]

    # --- files ------------------------------------------------------------------------------------------------------

    def _files(self) -> Iterator[Finding]:
        writable = self._writable()
        for path in writable:
            yield Finding("files", "can be written", GRANTED, self._who(path), (path,))
        if not self.ask.handles_writing():
            yield self._judge("files", "every file", (), ("/",), self._who("/"))
        else:
            refused = ("read-only mount",) if self.ask.against_metadata()[-1:] == ("read-only mount",) else ()
            yield Finding("files", "every other file", CLOSED, ("landlock", *refused))
        later = [f"{path}/{name}" for path in writable for name in places.IN_PROJECTS]
        later = [path for path in later if self.ask.exists(path) and not self.ask.against_write(path)]
        if later:
            who = tuple(dict.fromkeys(word for path in later for word in self._who(path)))
            yield Finding("files", "what others run of what can be written", GRANTED, who, tuple(later))
        yield self._judge(
            "files",
            "mode, owner, times and attributes of files not granted",
            self.ask.against_metadata(),
            ("chmod(2)",),
        )
        if self.ask.plan.private_dirs:
            names = tuple(os.fsdecode(name) for name in self.ask.plan.private_dirs)
            yield Finding("files", "temporary files of its own", CLOSED, ("private directory",), names)
        set_id: tuple[Call, ...] = (("chmod", (0, SET_ID)), ("fchmod", (0, SET_ID)), ("fchmodat", (0, 0, SET_ID)))
        set_id += (("fchmodat2", (0, 0, SET_ID)), ("openat", (0, 0, CREATE, SET_ID)), ("openat2", ()))
        set_id += (("mknodat", (0, 0, SET_ID)),)
        nowhere = () if writable or not self.ask.handles_writing() else ("landlock",)
        yield self._judge("files", "set-id programs made", (*self.ask.against_calls(*set_id), *nowhere), ("chmod(2)",))
        kept = ("no_new_privs",) if self.ask.plan.no_new_privs else ()
        yield self._judge(
            "files", "set-id programs used", kept, ("execve(2)",), self._who_wrote("privileges.no_new_privs")
        )
        making = self.ask.against_calls(("mknodat", (0, 0, 0o020600)), ("mknod", (0, 0o020600)))
        yield self._judge("files", "device files made", (*making, *self.ask.lacks("CAP_MKNOD")), ("mknod(2)",))
        yield self._judge("files", "core dumps", self.ask.against_core_dumps(), ("core(5)",))

    def _writable(self) -> list[str]:
        """The places of the host that a rule lets the command change; devices are another topic."""
        found = []
        for access, kind, name in self.ask.plan.path_rules:
            path = os.fsdecode(name)
            change = access & WRITE and not path.startswith("/dev/")
            if (
                change
                and not self.ask.against_write(path)
                and (kind & ~MAY_VANISH == KIND_DIRECTORY or self.ask.exists(path))
            ):
                found.append(path)
        return found

    def _places(self, topic: str, kinds: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
        for name, patterns in kinds.items():
            yield self._paths(topic, name, patterns, self.ask.against_write, self._who)

    def _paths(
        self,
        topic: str,
        name: str,
        patterns: Iterable[str],
        against: Callable[[str], Walls],
        who: Callable[[str], tuple[str, ...]],
    ) -> Finding:
        """Closed if something stands against each path; else about those against which nothing does."""
        paths = [path for pattern in patterns for path in self._expand(pattern)]
        walls = {path: against(path) for path in paths}
        bare = tuple(path for path in paths if not walls[path])
        if not bare:
            return Finding(topic, name, CLOSED, _common(walls.values()))
        there = tuple(path for path in bare if self.ask.exists(path))
        granting = tuple(dict.fromkeys(word for path in bare for word in who(path)))
        return self._judge(topic, name, (), there if topic == "sockets" else there or bare, granting)

    def _expand(self, pattern: str) -> list[str]:
        """The paths of a pattern; none where the environment or the account does not say."""
        environ = self.ask.host.environ
        runtime = environ.get("XDG_RUNTIME_DIR", "") if self.ask.uid == self.ask.host.uid else ""
        runtime = runtime if runtime.startswith("/") else f"/run/user/{self.ask.uid}"
        if pattern.startswith("$"):
            path = environ.get(pattern[1:], "").partition("=")[2] or environ.get(pattern[1:], "")
            path = path.removeprefix("unix://").partition(",")[0]
            if pattern == "$WAYLAND_DISPLAY" and path and not path.startswith("/"):
                path = f"{runtime}/{path}"
            return [posixpath.normpath(path)] if path.startswith("/") else []
        if pattern.startswith("~"):
            return [self.ask.home + pattern[1:]] if self.ask.home.startswith("/") else []
        return [pattern.replace("{runtime}", runtime)]

    def _links(self) -> Iterator[Finding]:
        """Links to what the next launch believes: whoever may change the directory of one puts another in its place."""
        links = trusted.links(self.ask.host)
        if links:
            yield self._paths(
                LATER,
                "links to sandrun's own",
                links,
                lambda link: self.ask.against_write(posixpath.dirname(link)),
                lambda link: self._who(posixpath.dirname(link)),
            )

    # --- sockets ----------------------------------------------------------------------------------------------------

    def _sockets(self) -> Iterator[Finding]:
        ask = self.ask
        inet = (FAMILIES["inet"], FAMILIES["inet6"])
        own = ask.has_namespace("net")
        relayed = ask.relayed()
        for name, kind, protocol in (("TCP", SOCK_STREAM, IPPROTO_TCP), ("UDP", SOCK_DGRAM, IPPROTO_UDP)):
            what = f"{name}, the host's loopback too"
            walls = (*ask.against_sockets(*inet, kinds=(kind,)), *own)
            if protocol in relayed:
                what, walls = f"{name}, to what the relay lets through", ()
            elif protocol in ask.brokered():
                what = f"{name}, to what the supervisor connects"
            yield self._judge("sockets", what, walls, self._ports(), self._who_wrote(*NETWORK))
        raw = (*ask.against_sockets(*inet, kinds=(SOCK_RAW,)), *ask.lacks("CAP_NET_RAW"), *own)
        yield self._judge("sockets", "raw IP", raw, ("socket(2)",), self._who_wrote(*NETWORK, *CAPABILITIES))
        netlink = (*ask.against_sockets(FAMILIES["netlink"]), *own)
        yield self._judge("sockets", "netlink", netlink, ("socket(2)",), self._who_wrote("network.families"))
        left = [name for name in OTHER_FAMILIES if not ask.against_sockets(FAMILIES[name])]
        walls = () if left else ("seccomp",)
        yield self._judge("sockets", "other address families", walls, tuple(left), self._who_wrote("network.families"))
        by = self._who_wrote("network.unix", "network.families")
        yield self._judge("sockets", "abstract unix sockets", ask.against_abstract(), ("unix(7)",), by)
        for name, patterns in places.SOCKETS.items():
            yield self._paths("sockets", name, patterns, ask.against_unix, lambda _: by)
        yield self._judge("sockets", "every other unix socket", ask.against_unix(), ("unix(7)",), by)
        uring = ask.against_calls(("io_uring_setup", ()))
        yield self._judge("sockets", "what io_uring does past the filter", uring, ("io_uring(7)",))

    # --- processes --------------------------------------------------------------------------------------------------

    def _processes(self) -> Iterator[Finding]:
        ask = self.ask
        own = ask.has_namespace("pid")
        yield Finding("processes", "processes that go on afterwards", CLOSED, ("supervisor", *own))
        yield Finding("processes", "timers", CLOSED, ("end of all processes",))
        kill = (*ask.is_scoped("signal"), *own)
        yield self._judge("processes", "signals to others", kill, ("kill(2)",), key="process.isolate")
        other_uids = ask.lacks("CAP_KILL")
        yield self._judge("processes", "signals to other users' processes", (*kill, *other_uids), ("kill(2)",))
        seen = tuple(dict.fromkeys((*own, *ask.against_read("/proc/1/stat"))))
        is_lost = any(record.lost for record in self.records if record.key == "filesystem.proc")
        granted = () if is_lost else self._who_wrote("filesystem.proc", "filesystem.read")
        yield self._judge("processes", "list of others in /proc", seen, ("/proc",), granted, key="filesystem.proc")
        for row in CALLS:
            if row.topic == "processes":
                yield self._calls(row)
        passed = tuple(str(fd) for fd in ask.plan.pass_fds)
        if passed:
            yield Finding("processes", "descriptors passed on", GRANTED, self._who_wrote("process.pass_fds"), passed)
        yield Finding("processes", "standard input, output and error", GRANTED, ("the caller",), ("0", "1", "2"))
        yield Finding("processes", "other descriptors of the caller", CLOSED, ("close_range",))

    # --- terminal and devices ---------------------------------------------------------------------------------------

    def _terminal(self) -> Iterator[Finding]:
        asked = ("process.tty",) if self.ask.terminal_is_shared() else ()
        yield self._judge("terminal", "typing into it", self.ask.against_typing(), ("ioctl(2)",), asked)
        yield self._paths("terminal", "the user's other terminals", places.TERMINALS, self.ask.against_write, self._who)

    def _devices(self) -> Iterator[Finding]:
        yield self._paths(
            "devices", "memory, disks, input, sound, pictures", places.DEVICES, self.ask.against_device, self._who
        )
        granted = [os.fsdecode(path) for _, _, path in self.ask.plan.path_rules if path.startswith(b"/dev/")]
        granted = [path for path in granted if not self.ask.against_device(path)]
        if granted:
            who = tuple(dict.fromkeys(word for path in granted for word in self._who(path)))
            yield Finding("devices", "can be used", GRANTED, who, tuple(granted))

    # --- verdicts ---------------------------------------------------------------------------------------------------

    def _calls(self, row: Row) -> Finding:
        ask = self.ask
        walls = (*ask.against_calls(*row.calls), *ask.has_namespace(*row.namespaces))
        walls += ask.lacks(*row.capabilities) if row.capabilities else ()
        walls += ask.has_domain() if row.domain else ()
        walls += ask.has_sysctl(*row.sysctl) if row.sysctl else ()
        left = tuple(f"{name}(2)" for name, arguments in row.calls if not ask.is_refused(name, arguments))
        kept = row.capabilities and not ask.lacks(*row.capabilities)
        granting = self._who_wrote(*CAPABILITIES) if kept else ()
        return self._judge(row.topic, row.name, walls, left, granting, key=row.key)

    def _judge(
        self,
        topic: str,
        name: str,
        walls: Walls,
        where: tuple[str, ...],
        granting: tuple[str, ...] = (),
        *,
        key: str = "",
    ) -> Finding:
        """Closed by walls, else granted, else open; `key` is the protection that would have closed it."""
        if walls:
            return Finding(topic, name, CLOSED, tuple(dict.fromkeys(walls)))
        if granting:
            return Finding(topic, name, GRANTED, granting, where)
        lost = [text for record in self.records if record.key == key for text in record.lost]
        return Finding(topic, name, OPEN, (), where, "; ".join(lost) or NOBODY)

    def _who(self, path: str) -> tuple[str, ...]:
        """The keys that may have granted writing there, with their origins."""
        near = tuple(key for key, tops in BY_PLACE.items() if any(_below(path, top) for top in tops))
        return self._who_wrote(*WRITING, *near)

    def _who_wrote(self, *keys: str) -> tuple[str, ...]:
        """The origins of these keys where a profile wrote them and they are kept as written: what is lost is no grant."""
        origins = (
            origin
            for record in self.records
            if record.key in keys and record.state == ENFORCED
            for origin in record.requested
            if origin != BY_DEFAULT
        )
        return tuple(dict.fromkeys(origins))

    def _ports(self) -> tuple[str, ...]:
        """What the record says of the network that is granted."""
        notes = [note for record in self.records if record.key in NETWORK for note in record.notes]
        return tuple(note for note in dict.fromkeys(notes) if note != "none") or ("socket(2)",)


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _common(walls: Iterable[Walls]) -> Walls:
    """Every mechanism among them, those that stand against most first."""
    names = [name for one in walls for name in one]
    return tuple(sorted(dict.fromkeys(names), key=lambda name: -names.count(name)))
