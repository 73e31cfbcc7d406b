"""What an explained run used of what its profile grants: each entry with how often, and the files, places and processes.

A use is an attempt that the judge does not refuse; whether it succeeded nobody is told. What the kernel opens by itself is
added: the loader and the interpreters of an executed file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import elf
from sandrun.explain.attempts import EXITS
from sandrun.observe.events import ABSENT
from sandrun.primitives.landlock import FS
from sandrun.profile.bad import Bad

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sandrun.explain.denials import Denial
    from sandrun.observe.events import Address, Event, Place
    from sandrun.why.entries import Claim, Entry
    from sandrun.why.judge import Judge

MOST = 20_000
"""Different files and addresses that are remembered."""
MOST_TEXT = 16 * 2**20
"""Characters of paths in them together."""
MOST_PROCESSES = 2000
MOST_LISTED = 2000
"""Rows of a kind that the document has."""
MOST_LISTED_TEXT = 2**19
MOST_NAMES = 200
LOOKING = ("look", "change")
"""Acts that need no access right, though a mount can be in their way."""
OWN = ("private", "own")
"""Words for a place of the command's own, which is granted as well."""


class _Use(NamedTuple):
    program: str
    last: float
    times: int


class _Process(NamedTuple):
    program: str
    first: float
    last: float
    calls: int
    status: int | None = None


class _Grant(NamedTuple):
    entry: Entry
    rights: int
    names: tuple[str, ...] = ()
    used: int = 0
    times: int = 0
    looked: int = 0


class Uses:
    """What is used, told event by event. Most events repeat others, so little is done for each."""

    def __init__(self) -> None:
        self._files: dict[Place, _Use] = {}
        self._addresses: dict[Address, _Use] = {}
        self._processes: dict[int, _Process] = {}
        self._text = self.others = 0

    def __call__(self, event: Event) -> None:
        """Remember one event. It neither blocks nor raises."""
        self._process(event)
        if event.refused:
            return
        for place in event.places:
            if place.kind != ABSENT or place.act == "create":
                self._add(self._files, place, event, len(place.path) + len(place.real))
        if event.address:
            self._add(self._addresses, event.address, event, len(event.address.host))

    def _add(self, found: dict[Any, _Use], key: Place | Address, event: Event, text: int) -> None:
        known = found.get(key)
        if known is None:
            if len(found) >= MOST or self._text + text > MOST_TEXT:
                self.others += 1
                return
            self._text += text
        found[key] = _Use(event.program, event.when, known.times + 1 if known else 1)

    def _process(self, event: Event) -> None:
        known = self._processes.get(event.pid)
        if known is None:
            if not event.pid:
                return
            if len(self._processes) >= MOST_PROCESSES:
                self.others += 1
                return
            known = _Process(event.program, event.when, event.when, 0)
        status = event.arguments[0] & 0xFF if event.syscall in EXITS else known.status
        program = event.program or known.program
        self._processes[event.pid] = _Process(program, known.first, event.when, known.calls + 1, status)

    def document(
        self, judge: Judge, denied: Iterable[Denial], record: Mapping[str, Any] | None = None, gap: str = ""
    ) -> dict[str, Any]:
        """As `--report` holds it. `record` is the traffic of the relay, if there was one; `gap` why something may be missing."""
        grants = _Grants(judge)
        refused = frozenset((denial.act, denial.target) for denial in denied)
        files = [
            (place, use, grants.file(place, use.times))
            for place, use in self._files.items()
            if (place.act, place.path) not in refused and place.act != "connect"
        ]
        addresses = [
            {
                **address._asdict(),
                "times": use.times,
                "program": use.program,
                "grant": grants.address(address, use.times),
            }
            for address, use in self._addresses.items()
            if not _is_refused(address, refused)
        ]
        for row in (record or {}).get("endpoints", ()):
            grants.endpoint(row["endpoint"], row["connections"])
        rows, missing = _listed(files)
        rows += [
            {**_row(path, "execute", "file", FS["execute"] | FS["read_file"], times), "grant": index}
            for path, (times, index) in list(grants.by_kernel.items())[:MOST_LISTED]
        ]
        others = self.others + missing + max(0, len(addresses) - MOST_LISTED)
        if self.others:
            gap = gap or "there were too many different files, addresses or processes"
        return {
            "complete": not gap,
            "gap": gap or None,
            "grants": [_of_grant(grant) for grant in grants.all()],
            "files": rows,
            "endpoints": addresses[:MOST_LISTED],
            "processes": [{"pid": pid, **_rounded(process)} for pid, process in self._processes.items()],
            "others": others,
        }


def _is_refused(address: Address, refused: frozenset[tuple[str, str]]) -> bool:
    """Whether a denial is of it; by the words that `denials` has for a target."""
    act, protocol, host, port = address
    if protocol == "unix":
        return ("unix", host) in refused
    if act == "bind":
        return ("bind", f"{protocol}:{port}") in refused
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return ("connect", f"{protocol}:{place}") in refused


def _listed(files: list[tuple[Place, _Use, int | None]]) -> tuple[list[dict[str, Any]], int]:
    """Rows for as many as a document should hold, and how many it leaves out; those that are only looked at do not count."""
    rows: list[dict[str, Any]] = []
    text = missing = 0
    for place, use, grant in files:
        if place.act in LOOKING:
            continue
        if len(rows) >= MOST_LISTED or text + len(place.real) > MOST_LISTED_TEXT:
            missing += 1
            continue
        text += len(place.real)
        row = _row(place.real, place.act, place.kind, place.rights, use.times)
        rows.append({**row, "program": use.program, "last": round(use.last, 6), "grant": grant})
    return rows, missing


def _row(path: str, act: str, kind: str, rights: int, times: int) -> dict[str, Any]:
    """`program` and `last` are null of what the kernel does by itself."""
    row = {"path": path, "act": act, "kind": kind, "rights": _names(rights), "times": times}
    return {**row, "program": None, "last": None}


def _names(rights: int) -> list[str]:
    return [name for name, bit in FS.items() if rights & bit]


def _rounded(process: _Process) -> dict[str, Any]:
    return {**process._asdict(), "first": round(process.first, 6), "last": round(process.last, 6)}


def _of_grant(grant: _Grant) -> dict[str, Any]:
    return {
        **grant.entry._asdict(),
        "through": list(grant.entry.through),
        "names": list(grant.names[:MOST_NAMES]),
        "rights": _names(grant.rights),
        "used": _names(grant.used),
        "times": grant.times,
        "looked": grant.looked,
    }


class _Grants:
    """The entries that grant something, and what was made of them."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._host = judge.entries.host
        own = [claim for claim in judge.entries.hiding if claim.entry.text in OWN]
        claims: tuple[Claim, ...] = (*judge.entries.grants, *own)
        self._grants = [_Grant(claim.entry, claim.rights, claim.names) for claim in claims]
        self.by_kernel: dict[str, tuple[int, int | None]] = {}
        """What the kernel executed for a file that needs it, how often, and the grant."""
        self._by_name: dict[str, list[int]] = {}
        for index, claim in enumerate(claims):
            for name in claim.names:
                self._by_name.setdefault(name, []).append(index)
        self._places = {entry: len(self._grants) + index for index, entry in enumerate(judge.network_entries)}
        self._grants += [_Grant(entry, 0) for entry in self._places]

    def all(self) -> tuple[_Grant, ...]:
        return tuple(self._grants)

    def file(self, place: Place, times: int) -> int | None:
        """Count a use of a file; the index of the nearest grant that it is a use of, None if none is."""
        if place.act in LOOKING:
            for index in self._above(place.real, 0):
                self._grants[index] = self._grants[index]._replace(looked=self._grants[index].looked + times)
            return None
        first = self._use(place.real, place.rights, times)
        if place.act == "execute":
            start = elf.trace(place.real, self._host, lambda _: None)
            for program in filter(None, (*start.programs[1:], start.loader)):
                path = self._host.realpath(program)
                nearest = self._use(path, FS["execute"] | FS["read_file"], times)
                before = self.by_kernel.get(path)
                self.by_kernel[path] = (times + (before[0] if before else 0), nearest)
        return first

    def _use(self, path: str, rights: int, times: int) -> int | None:
        first, main = None, rights & FS["execute"] or rights
        for index in self._above(path, rights):
            grant = self._grants[index]
            if grant.rights & rights:
                self._grants[index] = grant._replace(used=grant.used | grant.rights & rights, times=grant.times + times)
                first = index if first is None and grant.rights & main else first
                rights &= ~grant.rights
        return first

    def _above(self, path: str, rights: int) -> Iterator[int]:
        """The grants of `path` and of each directory above it, the nearest first; with no `rights` the nearest ones only."""
        while True:
            found = self._by_name.get(path, ())
            yield from found
            if path in ("/", "") or (found and not rights):
                return
            path = path.rpartition("/")[0] or "/"

    def address(self, address: Address, times: int) -> int | None:
        """Count a use of an address, as `file` does."""
        act, protocol, host, port = address
        try:
            if protocol == "unix":
                answer = self._judge.unix(host) if host else None
            elif protocol not in ("tcp", "udp") or (act != "bind" and not port):
                answer = None
            elif act == "bind":
                answer = self._judge.bind(port, protocol)
            else:
                plain = host.partition("%")[0]
                plain = plain.removeprefix("::ffff:") if "." in plain else plain
                answer = self._judge.connect(plain, port, protocol)
        except Bad:
            return None
        if answer is None or not answer.granted:
            return None
        return self._count(answer.entries, times)

    def endpoint(self, text: str, times: int) -> None:
        """Count what the relay or the broker connected to, `tcp:example.org:443`."""
        protocol, _, place = text.partition(":")
        host, _, port = place.rpartition(":")
        try:
            answer = self._judge.connect(host.strip("[]"), int(port), protocol)
        except (Bad, ValueError):
            return
        self._count(answer.entries, times)

    def _count(self, entries: Iterable[Entry], times: int) -> int | None:
        index = next((self._places[entry] for entry in entries if entry in self._places), None)
        if index is not None:
            self._grants[index] = self._grants[index]._replace(times=self._grants[index].times + times)
        return index
