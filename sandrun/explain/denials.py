"""What was observed of a run → what its plan refused, each thing once, in plain words. Pure, over a Judge and a Host.

An event is an attempt, and nobody is told how it ended. Whether it was refused is the judge's answer, by the same rules
as `sandrun why`; what the filters refuse, the observer itself has seen. What would have failed without any sandbox, since
nothing is there, is no denial.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from sandrun import elf
from sandrun.observe.events import ABSENT, DIRECTORY
from sandrun.plan.siblings import is_below
from sandrun.plan.syscalls import FALLBACKS
from sandrun.policy.families import FAMILIES
from sandrun.profile.bad import Bad

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandrun.explain.attempts import Attempts
    from sandrun.explain.remedies import Remedy
    from sandrun.host import Host
    from sandrun.observe.events import Address, Event, Place
    from sandrun.why.answer import Answer
    from sandrun.why.entries import Entry
    from sandrun.why.judge import Judge

NEWER = frozenset((*(newer for newer, _ in FALLBACKS), "clone3"))
"""Calls for which every C library has an older one; they answer ENOSYS so that it is taken."""
LOOK, CHANGE, LIMIT = "look", "change", "limit"
"""Acts besides `why.judge.ACTS`, connect, bind, send, unix and syscall."""
OPENING = {
    "read": "open {} for reading",
    "write": "open {} for writing",
    "create": "make {}",
    "remove": "remove {}",
    "execute": "execute {}",
    LOOK: "find {}",
    CHANGE: "change the attributes of {}",
}
SOCKET_TYPES = {1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket"}
_TYPE_BITS = 0xF
_INT_BITS = 0xFFFFFFFF
_FAMILY_NAMES = {number: name for name, number in FAMILIES.items()}


class Who(NamedTuple):
    """A process that tried it. `last`: when it did so for the last time, in seconds since the command started."""

    program: str
    pid: int
    last: float
    after: int = 0
    """How many other calls of it were observed after that."""


class Denial(NamedTuple):
    """One thing that was tried and refused."""

    act: str
    """One of `why.judge.ACTS`, `look`, `change`, `connect`, `bind`, `send`, `unix`, `syscall` or `limit`."""
    target: str
    """The path, the endpoint, the syscall or the name of the limit."""
    words: str
    """What was tried: `open /home/u/.netrc for reading`."""
    reason: str
    """Why it was refused, as the judge says it."""
    entries: tuple[Entry, ...] = ()
    """The entries of the profile that decide; () where none grants it."""
    mechanisms: tuple[str, ...] = ()
    ordinary: str = ""
    """Why ordinary permissions refuse it anyway; "" if they do not."""
    who: tuple[Who, ...] = ()
    times: int = 1
    sure: bool = True
    """False: a program that is told so by design goes another way (ENOSYS)."""
    fatal: bool = False
    """The kernel, or the supervisor, ended a process for it."""
    rights: int = 0
    """Of a file: the Landlock rights that it takes."""
    arguments: tuple[int, ...] = ()
    """Of a syscall."""
    remedy: Remedy | None = None
    """If what helps does not follow from the rest (`remedies.remedy`)."""


def find(
    attempts: Attempts, judge: Judge, host: Host, *, own: tuple[str, ...] = (), relayed: bool = False
) -> tuple[Denial, ...]:
    """The denials of a run, in no particular order.

    `own`: directories that the launch made for the command, which no question is about. `relayed`: a relay made the
    connections; its own record says what it refused, and by name.
    """
    asking = _Asking(judge, host, [attempt.event for attempt in attempts.made], own=own, relayed=relayed)
    merged: dict[tuple[str, str], Denial] = {}
    whos: dict[tuple[str, str], list[Who]] = {}
    counts: dict[tuple[str, str], int] = {}
    rights: dict[tuple[str, str], int] = {}
    for event, last, times, after in attempts.made:
        for denial in asking.denials(event):
            key = denial.act, denial.target
            merged.setdefault(key, denial)
            whos.setdefault(key, []).append(Who(event.program, event.pid, last, after))
            counts[key] = counts.get(key, 0) + times
            rights[key] = rights.get(key, 0) | denial.rights
    return tuple(
        denial._replace(who=tuple(whos[key]), times=counts[key], rights=rights[key]) for key, denial in merged.items()
    )


def refused(
    events: Sequence[Event], judge: Judge, host: Host, *, own: tuple[str, ...] = (), relayed: bool = False
) -> Iterator[Denial]:
    """The same of events alone, each thing once, as soon as it is known; `who` is left empty."""
    asking = _Asking(judge, host, events, own=own, relayed=relayed)
    told = set()
    for event in events:
        for denial in asking.denials(event):
            if (denial.act, denial.target) not in told:
                told.add((denial.act, denial.target))
                yield denial


class _Asking:
    """The judge, asked for each thing once: many processes try the same."""

    def __init__(
        self, judge: Judge, host: Host, events: Iterable[Event], *, own: tuple[str, ...], relayed: bool
    ) -> None:
        self._judge = judge
        self._host = host
        self._own = own
        self._relayed = relayed
        self._files: dict[tuple[str, str, int], Answer | None] = {}
        self._bound = frozenset(event.address.port for event in events if event.address and event.address.act == "bind")

    def denials(self, event: Event) -> Iterator[Denial]:
        """What is refused of one event."""
        if event.refused:
            if not (event.refused == errno.ENOSYS and event.syscall in NEWER):
                yield self._filtered(event)
            return
        for place in event.places:
            yield from self._place(place)
        if event.address is not None:
            yield from self._address(event.address)

    def _file(self, act: str, path: str, rights: int = 0) -> Answer | None:
        """Why it is refused; None if it is not. Most are not, and then nobody has to know by which entry."""
        key = act, path, rights
        if key not in self._files:
            self._files[key] = None if self._judge.lets(*key) else self._judge.file(*key)
        return self._files[key]

    def _place(self, place: Place) -> Iterator[Denial]:
        if any(is_below(place.real, top) for top in self._own):
            return
        if place.act in (LOOK, CHANGE):
            # Neither is Landlock's business: the one fails where a mount hides the file, the other on a read-only one.
            if place.act == CHANGE or place.kind == ABSENT:
                answer = self._file("read" if place.act == LOOK else "write", place.path)
                if answer and "mount" in answer.mechanisms:
                    yield _of_file(place.act, place, answer)
            return
        answer = self._file(place.act, place.path, place.rights)
        if answer is None or _is_nothing(place, answer):
            return
        if place.act == "execute":
            yield from self._execution(place, answer)
        else:
            yield _of_file(place.act, place, answer)

    def _execution(self, place: Place, answer: Answer) -> Iterator[Denial]:
        """The file itself, or the interpreter that it names: only one of them may be what is refused."""
        head = self._host.read(place.real, elf.SCRIPT_HEAD) or b""
        if head.startswith(b"#!"):
            needed = next(iter(elf.script_words(head)), "")
        else:
            program = elf.parse(place.real, self._host)
            needed = program.interpreter if program else ""
        other = self._file("execute", needed) if needed else None
        if other is None:
            yield _of_file("execute", place, answer)
            return
        words = f"execute {needed}, which {place.path} starts with"
        yield _made("execute", needed, words, other)

    def _address(self, address: Address) -> Iterator[Denial]:
        act, protocol, host, port = address
        if protocol == "unix":
            if act != "bind" and host:
                answer = self._judge.unix(host)
                if not answer.granted:
                    yield _made("unix", host, f"connect to the unix socket {host}", answer)
            return
        if protocol not in ("tcp", "udp"):
            return
        if act == "bind":
            answer = self._judge.bind(port, protocol)
            if not answer.granted:
                yield _made("bind", f"{protocol}:{port}", f"listen on port {port} ({protocol})", answer)
            return
        own = port in self._bound and (host == "::1" or host.startswith("127."))
        if self._relayed or own or not port or not host:
            return
        host = host.partition("%")[0]
        host = host.removeprefix("::ffff:") if "." in host else host
        try:
            answer = self._judge.connect(host, port, protocol)
        except Bad:
            return  # no address that a rule could speak of, so nothing could be proposed either
        if not answer.granted:
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            words = f"connect {place}" if protocol == "tcp" else f"send to {place} by UDP"
            yield _made("connect", f"{protocol}:{place}", words, answer)

    def _filtered(self, event: Event) -> Denial:
        """A syscall that the filters refuse, with what it was about."""
        name, about = event.syscall, ""
        if name in ("socket", "socketpair"):
            family, kind = event.arguments[0] & _INT_BITS, event.arguments[1] & _TYPE_BITS
            about = f"{_FAMILY_NAMES.get(family, family)} {SOCKET_TYPES.get(kind, kind)}"
        elif event.places:
            about = event.places[0].path
        elif event.address and event.address.port:
            about = f"{event.address.host}:{event.address.port}"
        try:
            answer = self._judge.syscall(name, event.arguments)
        except ValueError:  # a number without a name
            return Denial("syscall", name, f"syscall {name}", "sandrun knows no such syscall", sure=False)
        words = f"syscall {name} ({about})" if about else f"syscall {name}"
        target = f"{name} {about}" if about and name.startswith("socket") else name
        denial = _made("syscall", target, words, answer)
        return denial._replace(sure=event.refused != errno.ENOSYS, arguments=event.arguments)


def _is_nothing(place: Place, answer: Answer) -> bool:
    """Whether the call fails for everybody: what it needs is not there, and nothing hides it."""
    if "mount" in answer.mechanisms:
        return False
    if place.act == "create":
        return answer.ordinary.startswith("there is no")
    return place.kind == ABSENT


def _of_file(act: str, place: Place, answer: Answer) -> Denial:
    words = OPENING[act].format(place.path)
    if act == "read" and place.kind == DIRECTORY:
        words = f"list {place.path}"
    return _made(act, place.path, words, answer)._replace(rights=0 if act in (LOOK, CHANGE) else place.rights)


def _made(act: str, target: str, words: str, answer: Answer) -> Denial:
    return Denial(act, target, words, answer.reason, answer.entries, answer.mechanisms, answer.ordinary)


def of_relay(refused: Iterable[dict[str, object]], when: float) -> tuple[Denial, ...]:
    """What the relay's record says it refused (rows of `traffic.Traffic`). When it did so is not known: `when`."""
    found = []
    for row in refused:
        what, target, reason = str(row["what"]), str(row["target"]), str(row["reason"])
        if what == "limit":
            continue
        words = {"name": f"find the host {target}", "udp": f"send to {target} by UDP"}.get(what, f"connect {target}")
        act = "name" if what == "name" else "connect"
        endpoint = target if what == "name" else f"{'udp' if what == 'udp' else 'tcp'}:{target}"
        text = "no entry grants it" if reason == "not granted" else reason
        who = (Who("", 0, when),)
        found.append(
            Denial(act, endpoint, words, text, (), ("relay",), who=who, times=int(str(row["count"])), sure=True)
        )
    return tuple(found)
