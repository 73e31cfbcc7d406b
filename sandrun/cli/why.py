"""`sandrun why`: whether a command could do something under a profile, on this kernel or another, and which entry decides.

Exit status: 0 if all that was asked would work, 1 if something would not, 2 wrong usage, 125 could not tell.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import click

from sandrun import report
from sandrun.cli import options
from sandrun.errors import UsageError
from sandrun.primitives.landlock import NEWEST_ABI
from sandrun.profile.bad import Bad

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.why.answer import Answer
    from sandrun.why.judge import Judge

EXIT_NO = 1
COMMAND = ("/bin/sh",)
"""Whose plan is asked where no command is named: groups such as @runtime depend on it a little."""
QUESTIONS = ("read", "write", "execute", "create", "remove", "connect", "bind", "syscall")
HELP = "see sandrun why --help"


class Question(NamedTuple):
    """What one command line asks: about what, and of which launch."""

    about: str
    objects: tuple[str, ...]
    request: options.Request


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun why` say and return the exit status.

    Raises click.UsageError and SandrunError.
    """
    words = list(argv)
    command: tuple[str, ...] = COMMAND
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], tuple(words[at + 1 :]) or COMMAND
    status = why.main(args=words, prog_name="sandrun why", standalone_mode=False, obj=command)
    return status if isinstance(status, int) else 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="QUESTION WHAT... [OPTION]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--abi", metavar="N", type=click.IntRange(0, NEWEST_ABI), help="As if the kernel had Landlock ABI N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def why(command: tuple[str, ...], words: tuple[str, ...], abi: int | None, as_json: bool) -> int:
    """Print whether a command could do something, and which entry of a profile decides; nothing is run.

    QUESTION is read, write, execute, create or remove (WHAT: paths), connect (HOST:PORT, or the path of a socket), bind
    (ports) or syscall (names). Each OPTION is one of a launch; `-- COMMAND` says whose. The exit status is 0 if all of it
    would work.
    """
    question = read(words, command)
    judge, kernel_abi = _judge(question.request, abi)
    try:
        answers = [_answer(judge, question.about, each) for each in question.objects]
    except Bad as bad:
        raise UsageError(bad.message, hint=bad.hint) from None
    document = {
        "sandrun": report.SCHEMA,
        "profiles": list(question.request.profiles or ("default",)),
        "landlock_abi": kernel_abi,
        "answers": [answer.as_json() for answer in answers],
    }
    report.emit(report.to_json(document, indent=2) if as_json else text(answers))
    return 0 if all(answer.allowed for answer in answers) else EXIT_NO


def read(words: Sequence[str], command: Sequence[str]) -> Question:
    """Take the words apart: options of a launch may stand on both sides of what is asked. Raises UsageError."""
    left = list(words)
    given: list[str] = []
    plain: list[str] = []
    while left:
        rest = _behind_options(left)
        given += left[: len(left) - len(rest)]
        plain += rest[:1]
        left = rest[1:]
    if plain and plain[0] not in QUESTIONS:
        raise UsageError(f"not a question: {plain[0]}", hint=f"one of {', '.join(QUESTIONS)}")
    if len(plain) < 2:
        raise UsageError("nothing is asked about", hint=HELP)
    request = options.parse([*given, "--", *command])
    of_launch = request._replace(command=(), profiles=(), overrides=(), replace=(), optional=(), require=())
    if of_launch != options.Request():
        raise UsageError("a question takes the options that say what is granted", hint=HELP)
    return Question(plain[0], tuple(plain[1:]), request)


def _behind_options(words: list[str]) -> list[str]:
    """The words from the first on that is no option of a launch."""
    try:
        request = options.parse([*words, *COMMAND])
    except UsageError:
        options.parse(words)  # the last option may lack its value: click says which
        raise
    return list(request.command[:-1])


def _judge(request: options.Request, abi: int | None) -> tuple[Judge, int]:
    """The judge of what this request would launch, and the Landlock ABI that it is asked for. Raises SandrunError."""
    from sandrun.cli.run import prepare  # noqa: PLC0415 (--help does without all this)
    from sandrun.host import System  # noqa: PLC0415
    from sandrun.why.judge import Judge  # noqa: PLC0415
    from sandrun.why.ways import ways  # noqa: PLC0415

    prepared = prepare(request, request.command, abi=abi)
    judge = Judge(
        prepared.profile,
        prepared.resolution,
        prepared.kernel,
        System(),
        ways(request.profiles),
        os.getgroups(),
    )
    return judge, prepared.kernel.landlock_abi


def _answer(judge: Judge, about: str, word: str) -> Answer:
    """The answer to one question. Raises Bad or UsageError for a word that is none of its objects."""
    if about == "syscall":
        try:
            return judge.syscall(word)
        except ValueError as error:
            raise UsageError(f"cannot tell: {word}: {error}", hint="name one system call") from None
    if about == "connect":
        return _connect(judge, word)
    if about == "bind":
        protocol, is_named, port = word.rpartition(":")
        if protocol not in ("", "tcp", "udp") or not port.isdecimal() or int(port) > 65535:
            raise UsageError(f"not a port to bind: {word}", hint="as in 8080, tcp:8080 or udp:53")
        return judge.bind(int(port), protocol if is_named else "tcp")
    return judge.file(about, word)


def _connect(judge: Judge, word: str) -> Answer:
    from sandrun.profile.endpoints import parse  # noqa: PLC0415 (--help does without it)

    if word.startswith(("/", "./", "abstract:")):
        return judge.unix(word)
    endpoint = parse(word)
    if endpoint.kind not in ("name", "address") or endpoint.first_port != endpoint.last_port or "*" in endpoint.host:
        raise UsageError(f"not one place to connect to: {word}", hint="as in example.org:443 or udp:192.0.2.1:53")
    return judge.connect(endpoint.host, endpoint.first_port, endpoint.protocol or "tcp")


def text(answers: Iterable[Answer]) -> str:
    """The lines to print."""
    lines: list[str] = []
    for answer in answers:
        lines.append(f"{'yes' if answer.allowed else 'no':3}  {answer.act}: {answer.reason}")
        if answer.mechanisms:
            lines.append(f"     refused by {', '.join(answer.mechanisms)}")
        if answer.ordinary:
            also = (
                "ordinary permissions would refuse it too" if not answer.granted else "ordinary permissions refuse it"
            )
            lines.append(f"     {also}: {answer.ordinary}")
        lines += [f"     {note}" for note in answer.notes]
    return "".join(f"{report.printable(line)}\n" for line in lines)
