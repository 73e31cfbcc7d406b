"""`sandrun shrink`: take away from a profile's file what a test command can do without.

Exit status: 0 nothing more can go, 1 something could (with --check, or once the tries are used up), 2 wrong usage, 125
could not tell.
"""

from __future__ import annotations

import shlex
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from sandrun import report
from sandrun.errors import SandrunError, UsageError
from sandrun.profile.bad import Bad, escaped
from sandrun.profile.find import Found

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandrun.cli.record import ReportFile
    from sandrun.profile.model import Profile, Value
    from sandrun.progress import Progress
    from sandrun.shrink.below import Tree
    from sandrun.shrink.work import Attempt, Result, Shrinking

EXIT_MORE = 1
LONGER = 10
"""A run may take so many times as long as the one under the whole profile, since several share the machine."""
SHORTEST = 10.0
"""Seconds that every run may take."""


class Test(NamedTuple):
    """The test command, and what the options say; `timeout` 0 is none."""

    command: tuple[str, ...]
    jobs: int
    tries: int
    timeout: float
    inherited: bool
    repeat: int = 1
    below: bool = False


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun shrink` say and return the exit status.

    Raises click.UsageError and SandrunError.
    """
    status = shrink.main(args=list(argv), prog_name="sandrun shrink", standalone_mode=False)
    return status if isinstance(status, int) else 0


def _seconds(_context: click.Context, _option: click.Parameter, text: str | None) -> float:
    from sandrun.profile.units import seconds  # noqa: PLC0415 (--help does without it)

    try:
        return float(seconds(text)) if text is not None else 0.0
    except Bad as bad:
        raise UsageError(f"--timeout {text}: {bad.message}", hint=bad.hint) from None


@click.command()
@click.argument("file", metavar="FILE")
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--jobs", "-j", metavar="N", type=click.IntRange(1, 256), default=1, help="Run N tests at a time.")
@click.option("--tries", metavar="N", type=click.IntRange(1), default=1000, help="Run at most N tests (default: 1000).")
@click.option("--timeout", metavar="TIME", callback=_seconds, help="A test that takes longer than TIME fails.")
@click.option("--state", metavar="STATE", default="", help="Keep the answers in the file STATE, and go on from there.")
@click.option("--inherited", is_flag=True, help="Also leave out what FILE extends, by `replace`.")
@click.option("--below", is_flag=True, help="Also narrow directories to what below them is enough.")
@click.option("--repeat", metavar="N", type=click.IntRange(1, 100), default=1, help="Pass only what passes N times.")
@click.option("--check", is_flag=True, help="Change nothing; the status is 1 if something could go.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def shrink(
    file: str,
    command: tuple[str, ...],
    jobs: int,
    tries: int,
    timeout: float,
    state: str,
    inherited: bool,
    below: bool,
    repeat: int,
    check: bool,
    as_json: bool,
) -> int:
    """Take from the profile FILE every grant that COMMAND, run under it, passes without (exit status 0).

    Whole grants go, or become narrower: writing becomes reading. What denies or limits stays.
    """
    from sandrun.profile.source import UnreadableError, read_text  # noqa: PLC0415 (--help does without all this)
    from sandrun.progress import Progress  # noqa: PLC0415
    from sandrun.shrink.replace import Target  # noqa: PLC0415

    found = Found(file, file, escaped(file))
    try:
        text, identity = read_text(found.path, found.source)
    except UnreadableError as error:
        raise SandrunError(error.problems[0].message) from None
    target = None if check else Target(file, identity, text)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with Progress() as progress:
        test = Test(command, jobs, tries, timeout, inherited, repeat, below)
        work, result = _shrunk(found, text, test, state, progress)
    changed = result.text != text
    if changed and target:
        target.replace(result.text)
    facts = document(work, result, command, written=changed and not check)
    report.emit(report.to_json(facts, indent=2) if as_json else lines(work, result))
    if not result.complete:
        report.say([f"stopped after {work.runs} runs of the test: more may be possible", "hint: --tries allows more"])
    return EXIT_MORE if not result.complete or (check and changed) else 0


def _interrupt(_number: int, _frame: object) -> None:
    """As Ctrl-C: the runs of the test are ended before this process is."""
    raise KeyboardInterrupt


def _shrunk(found: Found, text: str, test: Test, state: str, progress: Progress) -> tuple[Shrinking, Result]:
    """The work, done and tried once more. Raises SandrunError."""
    from sandrun.cli import trial  # noqa: PLC0415 (--help does without all this)
    from sandrun.profile.write import profile_text  # noqa: PLC0415
    from sandrun.shrink import state as states  # noqa: PLC0415
    from sandrun.shrink.search import Answers  # noqa: PLC0415
    from sandrun.shrink.work import Shrinking  # noqa: PLC0415

    file = _state_file(state)
    limit = test.timeout

    def attempt(profiles: Sequence[Profile]) -> list[bool]:
        if state:
            file.write(states.document(work.answers, about))  # each time, since this may be killed
        gone = f"{len(work.taken)} of {steps} steps taken"
        progress.show(f"sandrun: shrinking {found.source}: run {work.runs} of the test, {gone}")
        return [status == 0 for status in trial.statuses(profiles, test.command, limit)]

    work = Shrinking(found, text, attempt, Answers(), test.tries, inherited=test.inherited, repeat=test.repeat)
    tree = _tree(work.profile, found) if test.below else None
    steps = sum(len(grant.forms) - 1 for grant in work.grants)
    about = states.digest(text, profile_text(work.profile), work.grants, test.command, test.repeat)
    if state:
        work.answers = states.load(state, about)
    progress.show(f"sandrun: shrinking {found.source}: the first run of the test")
    limit = _first(found, work.profile, test)
    try:
        result = work.shrink(test.jobs)
        if tree and result.complete:
            result = _narrowed(work, result, attempt, tree)
    finally:
        if state:
            file.write(states.document(work.answers, about))
    if result.text != text:
        _last(found, result, test, limit)
    return work, result


def _locate(value: Value) -> Sequence[str]:
    """The paths of an entry, as a launch by the caller would find them. Raises ProfileError."""
    from sandrun.host import System, home_of  # noqa: PLC0415 (--help does without it)
    from sandrun.profile.paths import expand  # noqa: PLC0415

    host = System()
    if getattr(value.value, "group", ""):
        return ()
    return expand(value, host, home_of(host, host.account(host.uid)))


def _tree(profile: Profile, found: Found) -> Tree:
    """What is there before the test ran for the first time."""
    from sandrun.shrink.below import Tree, tops  # noqa: PLC0415 (--help does without it)

    return Tree(tops(profile, found, _locate))


def _narrowed(work: Shrinking, result: Result, attempt: Attempt, tree: Tree) -> Result:
    """The same with directories narrowed, one run at a time: what is tried depends on what is there."""
    from sandrun.shrink.below import Narrowing  # noqa: PLC0415 (--help does without it)

    narrowing = Narrowing(work.found, result.text, attempt, tree, _locate)
    narrowed = narrowing.run(work.tries - work.runs, work.repeat, work.answers.tried)
    work.runs += narrowed.runs
    return result._replace(text=narrowed.text, complete=narrowed.complete, below=narrowed.below)


def _state_file(path: str) -> ReportFile:
    from sandrun.cli.record import ReportFile  # noqa: PLC0415 (--help does without it)

    try:
        return ReportFile(path)
    except SandrunError as error:
        raise SandrunError(error.message.replace("the report", "the state", 1)) from None


class _NoLaunchError(SandrunError):
    """What a launch in another process said of why there is none."""

    def __init__(self, said: list[str]) -> None:
        super().__init__("; ".join(said))
        self.said = said

    def lines(self) -> list[str]:
        return self.said


def _first(found: Found, profile: Profile, test: Test) -> float:
    """Run the test under the profile as it is. The longest that it may take from now on. Raises SandrunError."""
    from sandrun.cli import trial  # noqa: PLC0415 (--help does without it)

    began = time.monotonic()
    status, errors = trial.first(profile, test.command, test.timeout)
    if errors:
        raise _NoLaunchError(errors)
    if status:
        file = found.word if "/" in found.word else f"./{found.word}"
        raise SandrunError(
            f"the test does not pass under the profile as it is: {found.source}: exit status {status}",
            hint=f"this shows why: sandrun -p {shlex.join([file, '--', *test.command])}",
        )
    return test.timeout or max(SHORTEST, LONGER * (time.monotonic() - began))


def _last(found: Found, result: Result, test: Test, limit: float) -> None:
    """Run the test under what is left. Raises SandrunError."""
    from sandrun.cli import trial  # noqa: PLC0415 (--help does without it)
    from sandrun.profile.loader import load_text  # noqa: PLC0415

    profile = load_text(found, result.text)
    if any(trial.statuses([profile], test.command, limit)[0] for _ in range(test.repeat)):
        raise SandrunError(
            f"the test passed without some grants, and now it does not: {found.source} is left as it was",
            hint="it has to give the same answer each time, whatever earlier runs left behind; perhaps --jobs 1 helps",
        )


# --- what is told --------------------------------------------------------------------------------------------------


def lines(work: Shrinking, result: Result) -> str:
    """The text to print: each grant that went or became narrower, and a count."""
    shown = "".join(f"{report.printable(line)}\n" for line in _lines(work, result))
    fates = [fate for _, fate, _ in _fates(work, result)]
    counts = f"{fates.count('removed')} removed, {fates.count('narrowed')} narrowed, {fates.count('needed')} needed"
    return f"{shown}{len(fates)} grants: {counts}, after {work.runs} runs of the test\n"


def _lines(work: Shrinking, result: Result) -> Iterator[str]:
    from sandrun.shrink.grants import where  # noqa: PLC0415 (--help does without it)

    for grant, fate, form in _fates(work, result):
        right = f" of {grant.rule}" if grant.rule else ""
        to = f" is now {form}" if fate == "narrowed" else ""
        if below := result.below.get((form, grant.text)):
            to = f" is now {', '.join(f'{entry} in {key}' for key, entry in below) or 'nothing'}"
        if fate != "needed":
            yield f"{fate:8}  {where(work.found.source, grant)}: {grant.text}{right}{to}"


def _fates(work: Shrinking, result: Result) -> Iterator[tuple[Any, str, str]]:
    """Each grant, what became of it, and its form."""
    from sandrun.shrink.grants import GONE, forms  # noqa: PLC0415 (--help does without it)

    for grant, form in forms(work.grants, result.taken):
        fate = "needed" if form == grant.forms[0] else "removed" if form == GONE else "narrowed"
        if fate == "needed" and (form, grant.text) in result.below:
            fate = "narrowed"
        yield grant, fate, form


def document(work: Shrinking, result: Result, command: Sequence[str], *, written: bool) -> dict[str, Any]:
    """The JSON to print."""
    from sandrun.shrink.grants import where  # noqa: PLC0415 (--help does without it)

    found: dict[str, list[dict[str, Any]]] = {"removed": [], "narrowed": [], "needed": []}
    for grant, fate, form in _fates(work, result):
        entry: dict[str, Any] = {"key": grant.key, "entry": grant.text, "from": where(work.found.source, grant)}
        entry |= {"path": grant.rule} if grant.rule else {}
        below = result.below.get((form, grant.text))
        entry |= {"to": form} if fate == "narrowed" else {}
        entry |= {"below": [{"key": key, "entry": text} for key, text in below]} if below else {}
        found[fate].append(entry)
    return {
        "sandrun": report.SCHEMA,
        "profile": work.found.path,
        "command": list(command),
        **found,
        "runs": work.runs,
        "complete": result.complete,
        "written": written,
    }
