"""`sandrun learn -o FILE -- COMMAND`: run a command in a cage, and write the profile that it needs.

Exit status: 0 the profile is written, and the command does under it what it did in the cage; 1 it is written, and the
command does not; 2 wrong usage, 125 could not tell: nothing is written then.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from sandrun import report
from sandrun.cli import options
from sandrun.errors import EXIT_SANDRUN, SandrunError, UsageError
from sandrun.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.cli.verifying import Input, Printed, Verified
    from sandrun.learn.compose import Circumstances, Result, Run
    from sandrun.learn.derive import Scene
    from sandrun.learn.merge import Old

EXIT_NO = 1
SIGNALLED = 128
"""Exit statuses from here on tell of a signal; a server is ended by one."""
MOST_ROUNDS = 3
"""Runs in the cage, if the command needs something else each time."""
SHOWN = 8
"""Things of a kind that are said on the terminal; JSON has all."""


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun learn` say and return the exit status. Raises click.UsageError, SandrunError."""
    words, command = _split(argv)
    status = learn.main(args=[*words], prog_name="sandrun learn", standalone_mode=False, obj=command)
    return status if isinstance(status, int) else 0


def _split(argv: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    """The words before the first `--` and the command behind it."""
    if "--" not in argv:
        return argv, ()
    at = list(argv).index("--")
    return argv[:at], tuple(argv[at + 1 :])


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="[OPTION]... -- COMMAND [ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.option("-o", "--output", metavar="FILE", help="Write the profile to FILE.")
@click.option(
    "--cage",
    default="private",
    metavar="private|home|open",
    help="What the command may do meanwhile (default: private).",
)
@click.option("--merge", "merging", is_flag=True, help="Extend the profile FILE by what this run needs.")
@click.option("--no-verify", is_flag=True, help="Do not run the command again under the profile.")
@click.option("--compare-output", is_flag=True, help="What both runs print to stdout has to be the same too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def learn(
    command: tuple[str, ...],
    words: tuple[str, ...],
    output: str | None,
    cage: str,
    merging: bool,
    no_verify: bool,
    compare_output: bool,
    as_json: bool,
) -> int:
    """Run COMMAND in a cage, watch what it does, and write a profile that grants that and little more.

    Each OPTION is one of a launch and widens the cage: --connect and --bind for the network, --read and --write for
    files. What the command writes into the working directory is discarded, unless the cage is open.
    """
    request = _request(words, command)
    if not output:
        raise UsageError("no file to write to", hint="sandrun learn -o app.toml -- COMMAND")
    from sandrun.learn.cage import CAGES  # noqa: PLC0415 (--help does without it)

    if cage not in CAGES:
        raise UsageError(f"--cage {cage}: not one of {', '.join(CAGES)}")
    if no_verify and compare_output:
        raise UsageError("--compare-output needs the second run that --no-verify leaves out")
    old = _old(output, merging)
    learned = _learn(request, cage, old, compares=compare_output)
    run = learned.run
    verified = None
    if no_verify or run.status >= SIGNALLED:  # whoever ended the first run would have to end the second too
        result = learned.result(tight=False)
        _write(output, result.written)
    else:
        learned, result, verified = _settle(output, learned, cage)
    result = result._replace(warnings=(*result.warnings, *_exposed(output)))
    if as_json:
        report.emit(report.to_json(_document(output, result, run, verified)))
    else:
        report.say(_text(output, result, learned, verified))
    return 0 if verified is None or verified.agrees(run.status) else EXIT_NO


def _settle(output: str, learned: _Learned, cage: str) -> tuple[_Learned, Result, Verified]:
    """Write the narrowest profile under which the command does what it did; if there is none, the widest.

    A command that needs under it what it did not need in the cage does not do the same each time, so it is run in the
    cage again. Raises SandrunError.
    """
    rounds = MOST_ROUNDS if cage != "open" and not learned.given.is_lost else 1
    results = learned.results()
    while True:
        result = results.pop(0)
        verified = _verify(output, result, learned, cage)
        rounds -= 1
        if verified.agrees(learned.run.status):
            break
        if verified.news and rounds > 0:
            learned = _learn(learned.request, cage, _old(output, merging=True), before=learned)
            results = learned.results()
        if not results:
            break
    return learned, result, verified


def _verify(output: str, result: Result, learned: _Learned, cage: str) -> Verified:
    """Write the profile, and run the command under what was written. Raises SandrunError."""
    from sandrun.cli import learning  # noqa: PLC0415 (--help does without it)
    from sandrun.cli.verifying import Trial  # noqa: PLC0415
    from sandrun.profile import load  # noqa: PLC0415

    trial = Trial(learned.request, cage, learned.scene, learned.run, learned.given, learned.printed)
    _write(output, result.written)
    profile = load([_word(output)], _variables(trial.request))
    with Progress() as progress:
        progress.show("verifying: the command runs again, under the profile")
        return trial.verify(result, profile, learning.look_around())


def _request(words: Sequence[str], command: tuple[str, ...]) -> options.Request:
    """The options of a launch. Raises UsageError."""
    if not command:
        raise UsageError("no command given", hint="sandrun learn -o app.toml -- COMMAND")
    request = options.parse([*words, "--", *command])
    if request.command != command:
        raise UsageError(f"not an option: {request.command[0]}", hint="the command stands behind --")
    plain = request._replace(
        command=(),
        profiles=(),
        overrides=(),
        replace=(),
        optional=(),
        require=(),
        overlay_size=0,
        verbose=False,
        quiet=False,
    )
    if plain != options.Request():
        raise UsageError("learning takes the options that say what is granted", hint="see sandrun learn --help")
    return request


def _old(output: str, merging: bool) -> Old | None:
    """The profile that is to be extended. Raises SandrunError."""
    if not merging:
        if os.path.lexists(output):
            raise SandrunError(f"cannot write the profile: {output}: it is there already", hint="--merge extends it")
        return None
    from sandrun.learn.merge import Old  # noqa: PLC0415
    from sandrun.profile.find import Found  # noqa: PLC0415
    from sandrun.profile.loader import load_file, read_layer  # noqa: PLC0415
    from sandrun.profile.source import read_text  # noqa: PLC0415

    found = Found(output, output, report.printable(output))
    layer, _ = read_layer(found)
    if any(key.startswith("environment.set") for key in layer.profile.values):
        raise SandrunError(
            f"cannot extend: {output}: it sets variables, whose values are not written anew",
            hint="learn into another file, and extend that one: extends = [...]",
        )
    return Old(layer, read_text(output, found.source)[0], load_file(found))


class _Learned(NamedTuple):
    """What a run has shown, and all that a profile is made of it with."""

    run: Run
    asked: Circumstances
    scene: Scene
    old: Old | None
    request: options.Request
    given: Input
    printed: Printed | None
    times: int = 1
    """Runs in the cage, of which the others are in `old`."""

    def results(self) -> list[Result]:
        """The profiles that can be made of it, the narrowest first."""
        widths = ((True, True), (False, True), (False, False))
        return list(dict.fromkeys(self.result(tight=tight, with_variables=names) for tight, names in widths))

    def result(self, *, tight: bool, with_variables: bool = False) -> Result:
        """The profile; `tight` and `with_variables` as in `learn.compose`: only a run under it can justify them."""
        from sandrun.learn.compose import compose  # noqa: PLC0415 (--help does without it)
        from sandrun.learn.merge import merge  # noqa: PLC0415

        made = compose(self.run, self.asked, self.scene, tight=tight, with_variables=with_variables)
        return merge(self.old, made, self.run.places, self.scene) if self.old else made


def _learn(
    request: options.Request, cage: str, old: Old | None, *, compares: bool = False, before: _Learned | None = None
) -> _Learned:
    """Run the command in the cage; `compares`: take note of what it prints. After another such run nobody hears this one.

    Raises SandrunError.
    """
    from sandrun.cli import learning, naming  # noqa: PLC0415
    from sandrun.cli import run as runs  # noqa: PLC0415
    from sandrun.cli.verifying import Input, Printed, unheard  # noqa: PLC0415
    from sandrun.learn.compose import Circumstances  # noqa: PLC0415

    given, printed = Input(), Printed(show=True) if compares else None
    if before:
        given, printed = before.given, Printed(show=False) if before.printed else None
        request = before.request._replace(quiet=True)
    place = learning.look_around()
    caged = learning.caged(request, cage, place)
    prepared = runs.prepare(caged, request.command)
    scene = learning.scene(prepared, cage, place, request.command)
    if not request.quiet:
        report.warn(prepared.resolution.warnings)
    with Progress() as progress:
        progress.show(f"learning in the cage {cage}")
        if before:
            with unheard(given, printed) as streams:
                run = learning.observe(caged, prepared, streams)
        else:
            run = learning.observe(caged, prepared, learning.Streams(printed.take if printed else None))
    lost = tuple(protection.key for protection in prepared.resolution.enforcement if protection.lost)
    flags = tuple((each.key, each.text, each.flag) for each in request.overrides)
    asked = Circumstances(request.command, cage, prepared.kernel.arch, prepared.profile, flags, lost)
    run = run._replace(variables=naming.variables(run, prepared, scene, request.command))
    return _Learned(run, asked, scene, old, request, given, printed, before.times + 1 if before else 1)


def _write(output: str, text: str) -> None:
    """Put the file in place, whole. Raises SandrunError."""
    folder, name = os.path.split(output)
    temporary = ""
    try:
        mode = os.stat(output).st_mode & 0o777 if os.path.exists(output) else 0o644
        fd, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
        with open(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, mode & ~0o022)
            file.write(text)
        os.rename(temporary, output)
    except OSError as error:
        if temporary and os.path.lexists(temporary):
            os.unlink(temporary)
        raise SandrunError(f"cannot write the profile: {output}: {report.reason(error)}") from None


def _exposed(output: str) -> tuple[str, ...]:
    """A warning if the profile lies where it lets the command write."""
    from sandrun.cli import learning  # noqa: PLC0415
    from sandrun.profile import load  # noqa: PLC0415

    if not learning.is_exposed(output, load([_word(output)]), learning.look_around()):
        return ()
    return (f"the command may write {output} itself: keep the profile where it may not",)


def _word(output: str) -> str:
    """The file as `-p` takes it."""
    return output if "/" in output else f"./{output}"


def _variables(request: options.Request) -> list[tuple[str, str, str]]:
    """Variables with values: they are not in the profile, and the run had them."""
    return [
        (each.key, each.text, each.flag)
        for each in request.overrides
        if each.key.startswith("environment.") and "=" in each.text
    ]


def _text(output: str, result: Result, learned: _Learned, verified: Verified | None) -> list[str]:
    run = learned.run
    lines = [f"learned: {output}: {result.written.count(chr(10))} lines from {sum(run.calls.values())} calls"]
    if learned.times > 1:
        lines.append(f"learned again: it did not need the same each time: {learned.times} runs in the cage")
    if run.gap or run.others:
        lines.append(f"incomplete: {run.gap or f'{run.others} calls too many to keep'}")
    for title, items in (
        ("warning", result.warnings),
        ("not granted", result.left_out),
        ("refused in the cage", _refused(run)),
    ):
        lines += _some(title, items)
    if run.status:
        lines.append(f"the command ended with status {run.status} in the cage")
    return lines + _verdict(output, learned, verified)


def _some(title: str, items: Sequence[str]) -> list[str]:
    more = [f"{title}: and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [f"{title}: {item}" for item in items[:SHOWN]] + more


def _verdict(output: str, learned: _Learned, verified: Verified | None) -> list[str]:
    """What came of the second run."""
    if verified is None:
        return ["not verified"]
    status = learned.run.status
    lines = _some("refused under the profile", verified.news)
    if verified.agrees(status):
        printed = ", and prints the same" if verified.same_output else ""
        lines.append(f"verified: the command ends with status {status} under the profile too{printed}")
    elif verified.status != status:
        lines.append(f"differs: the command ends with status {verified.status} under the profile")
    elif verified.same_output is False:
        lines.append("differs: the command prints something else under the profile")
    else:
        lines.append(f"differs: the command ends with status {status} too, but was refused what it had in the cage")
    lines += verified.errors
    if learned.given.is_lost:
        lines.append("note: the second run had no input: only a regular file can be read again")
    if not verified.agrees(status) and verified.status != EXIT_SANDRUN:
        lines.append(f"hint: sandrun -p {_word(output)} --explain -- COMMAND says what it was refused")
    return lines


def _refused(run: Run) -> list[str]:
    """What the cage refused."""
    found = [f"{use.done} {use.path} ({use.evidence})" for use in run.refused]
    return found + [f"syscall {name} ({times} times)" for name, times in run.blocked.items()]


def _document(output: str, result: Result, run: Run, verified: Verified | None) -> dict[str, Any]:
    return {
        "sandrun": report.SCHEMA,
        "profile": output,
        "lines": result.written.count("\n"),
        "status": run.status,
        "seconds": round(run.wall, 6),
        "calls": sum(run.calls.values()),
        "complete": not (run.gap or run.others),
        "verified": None if verified is None else verified.agrees(run.status),
        "verified_status": None if verified is None else verified.status,
        "same_output": None if verified is None else verified.same_output,
        "warnings": list(result.warnings),
        "not_granted": list(result.left_out),
        "refused": _refused(run),
        "newly_refused": list(verified.news) if verified else [],
    }
