"""All that a run has shown → the lines of a profile. Pure, over a Host."""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun.learn import calls, text
from sandrun.learn.derive import derive, spell
from sandrun.learn.endpoints import derive_network
from sandrun.learn.limits import limits, shown_size
from sandrun.learn.variables import evidence
from sandrun.profile.layer import read_flags
from sandrun.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.learn.derive import Entry, Scene
    from sandrun.learn.uses import Peer, Use
    from sandrun.profile.model import Profile

MOST_LINES = 59
SCALES = (1.0, 0.6, 0.3)
"""How long lists may get, tried in this order until the whole is short enough."""
SHOWN = 4
"""Syscalls of a set that its comment names, and warnings that stand in the file."""
TAKEN_OVER = ("environment.", "rlimits", "resources.", "time.", "privileges.", "process.")
"""Tables of which the options of the learning run go into the profile as they are."""
NETWORK_TOO = ("network.private", "network.deny", "network.families")
REFUSING = ("errno", "kill-process")
CPU_HEADROOM, LEAST_CPU = 10, 60


class Run(NamedTuple):
    """What a learning run left: plain data, handed over by the process that supervised it."""

    places: tuple[Use, ...]
    peers: tuple[Peer, ...]
    calls: Mapping[str, int]
    traffic: tuple[dict[str, Any], ...]
    status: int
    cpu: float
    """Seconds of the whole tree."""
    wall: float = 0.0
    """Seconds that the run took."""
    refused: tuple[Use, ...] = ()
    blocked: Mapping[str, int] = {}
    others: int = 0
    gap: str = ""
    missed: frozenset[str] = frozenset()
    """Canonical paths that were not there."""
    turned_away: tuple[dict[str, Any], ...] = ()
    """What the relay refused: its rows."""
    memory: int = -1
    """Bytes that its control group held at most, -1 if there was none or the kernel does not tell."""
    highest: Mapping[str, int] = {}
    """What was used of limited things: `observe.peaks`."""
    variables: Mapping[str, tuple[str, ...]] = {}
    """Variables of the caller's that programs of the run know by name, and which."""


class Circumstances(NamedTuple):
    """What was asked for the run."""

    command: tuple[str, ...]
    cage: str
    arch: str
    asked: Profile
    flags: tuple[tuple[str, str, str], ...]
    """(key, text, flag) of the user's own options."""
    lost: tuple[str, ...] = ()
    """Protections that cannot be had here."""


class Result(NamedTuple):
    """The profile, and what a person should know."""

    head: text.Head
    lines: tuple[text.Line, ...]
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]
    ungranted: frozenset[str] = frozenset()
    """Paths that are meant by `left_out`."""

    @property
    def written(self) -> str:
        """The text of the file."""
        return text.render(self.head, self.lines)


def compose(run: Run, asked: Circumstances, scene: Scene, *, tight: bool = True, with_variables: bool = True) -> Result:
    """The profile of one run, made short enough for MOST_LINES if it can be; `tight` as in `derive`.

    `with_variables`: pass what programs know by name; as with `tight`, a run under the profile has to show that it does.
    """
    run = run if with_variables else run._replace(variables={})
    results = (_compose(run, asked, scene, scale, tight=tight) for scale in SCALES)
    short = (result for result in results if result.written.count("\n") <= MOST_LINES)
    return next(short, None) or _compose(run, asked, scene, SCALES[-1], tight=tight)


def _compose(run: Run, asked: Circumstances, scene: Scene, scale: float, *, tight: bool) -> Result:
    files = derive(run.places, scene, scale, tight=tight)
    network, untaken = derive_network(run.peers, run.traffic, asked.asked, lambda path: spell(path, scene))
    lines = _lines([*files.entries, *network])
    lines += _home(lines, asked.cage)
    lines += [text.line("environment.pass", name, evidence(programs)) for name, programs in run.variables.items()]
    taken, silent = _taken_over(asked, run.memory)
    if any(line.key == "environment.pass" for line in (*lines, *taken)):
        lines.insert(0, text.line("environment.pass", "@basic"))
    covered = calls.cover({"execve": 1, **run.calls}, asked.arch)
    lines.append(text.line("syscalls.default", _default(asked.asked)))
    lines += [
        text.line("syscalls.allow", name, _names(names, run.calls)) for name, names in covered.entries if names or name
    ]
    cpu = max(LEAST_CPU, int(run.cpu * CPU_HEADROOM) + 1)
    own = {line.key for line in taken}
    for key, value, why in (
        ("process.isolate", "true", ""),
        ("process.tty", "protected", ""),
        ("rlimits.core", "0", ""),
        ("rlimits.cpu", str(cpu), f"seconds; the run took {run.cpu:.1f}"),
        *((f"rlimits.{name}", str(value), why) for name, value, why in limits(run.highest)),
    ):
        lines += [text.line(key, value, why)] if key not in own else []
    warnings = [*files.warnings, *(f"an unusual syscall: {name}" for name in covered.unusual)]
    left_out = [*files.left_out, *(f"{what}: {who}" for what, who in untaken), *_turned_away(run), *silent]
    optional = tuple(key for key in asked.lost if any(line.key == key for line in lines))
    head = text.Head(
        (
            f"Learned from: {shlex.join(asked.command)}",
            *(f"warning: {warning}" for warning in warnings[:SHOWN]),
            *(f"not granted: {left}" for left in left_out[:SHOWN]),
        ),
        f"Learned from {printable(posixpath.basename(asked.command[0]))}",
        (("optional", optional),),
    )
    return Result(head, (*lines, *taken), tuple(warnings), tuple(left_out), files.ungranted)


def _default(asked: Profile) -> str:
    """What is done with other syscalls: as in the run, which has `kill-process` only where the user's own profile says so."""
    value = asked.scalar("syscalls.default")
    return str(value.value) if value is not None and str(value.value) in REFUSING else "errno"


def _turned_away(run: Run) -> list[str]:
    return [
        f"{row['what']} {row['target']} ({row['reason']}): the relay, {row['count']} times" for row in run.turned_away
    ]


def _lines(entries: Iterable[Entry]) -> list[text.Line]:
    return [text.line(entry.key, entry.text, str(entry.evidence)) for entry in entries]


def _home(lines: Sequence[text.Line], cage: str) -> list[text.Line]:
    """Where the cage hid the home and nobody missed it, it stays hidden."""
    if cage != "private" or any(line.key == "filesystem.home" for line in lines):
        return []
    return [text.line("filesystem.home", "hidden", "nothing in it was used")]


def _names(names: Sequence[str], counts: Mapping[str, int]) -> str:
    if not names:
        return "every program needs it"
    shown = ", ".join(f"{name} {counts.get(name, 0)}" for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _taken_over(asked: Circumstances, memory: int) -> tuple[list[text.Line], list[str]]:
    """The user's options that shape more than the cage. Values of variables are nobody's to write down."""
    lines: list[text.Line] = []
    left_out = []
    for key, value, flag in asked.flags:
        if not key.startswith(TAKEN_OVER) and key not in NETWORK_TOO:
            continue
        if key.startswith("environment.") and "=" in value:
            left_out.append(f"the value of {value.partition('=')[0]}: set it with {flag} again")
            continue
        values = read_flags([(key, value, flag)])[0].values
        used = f"; the run used {shown_size(memory)}" if key == "resources.memory" and memory >= 0 else ""
        lines += [line._replace(comment=f"as asked: {flag}{used}") for line in text.lines_of(values, {})]
    return lines, left_out
