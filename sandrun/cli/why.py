"""`sandrun why`: whether a command could do something under a profile, on this kernel or another, and which entry decides.

Exit status: 0 if all that was asked would work, 1 if something would not, 2 wrong usage, 125 could not tell.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from sandrun import report
from sandrun.cli import options
from sandrun.errors import UsageError
from sandrun.profile.bad import Bad

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.why.answer import Answer
    from sandrun.why.judge import Judge

EXIT_NO = 1
COMMAND = "/bin/sh"
"""Whose plan is asked where no command is named: groups such as @runtime depend on it a little."""
QUESTIONS = ("read", "write", "execute", "create", "remove", "connect", "bind", "syscall")
USAGE = "sandrun why [OPTION]... read|write|execute|create|remove PATH... [-- COMMAND]"
HELP = f"""\
Usage: {USAGE}
       sandrun why [OPTION]... connect HOST:PORT... | bind PORT... | syscall NAME...

  Print whether a command could do this, and which entry of the profile decides. Nothing is run. The exit status is 0 if
  all of it would work, 1 if something would not.

  Each OPTION is one of a launch, such as -p PROFILE or --read PATH, before the question or behind it; and

  --abi N    Ask for a kernel with Landlock ABI N (0: none).
  --json     Print JSON.
  -h, --help Print this help.
"""


class Question(NamedTuple):
    """What one command line asks: about what, of which launch, and how it is answered."""

    about: str
    objects: tuple[str, ...]
    request: options.Request
    abi: int | None = None
    json: bool = False


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun why` say and return the exit status. Raises SandrunError."""
    if not argv or argv[0] in ("-h", "--help"):
        report.emit(HELP)
        return 0 if argv else 2
    question = read(argv)
    judge, abi = _judge(question)
    try:
        answers = [_answer(judge, question.about, each) for each in question.objects]
    except Bad as bad:
        raise UsageError(bad.message, hint=bad.hint) from None
    document = {
        "sandrun": report.SCHEMA,
        "profiles": list(question.request.profiles or ("default",)),
        "landlock_abi": abi,
        "answers": [dict(answer.as_json()) for answer in answers],
    }
    report.emit(report.to_json(document, indent=2) if question.json else text(answers))
    return 0 if all(answer.allowed for answer in answers) else EXIT_NO


def read(argv: Sequence[str]) -> Question:
    """Take the words apart: options of a launch may stand on both sides of what is asked. Raises UsageError."""
    words = list(argv)
    command: tuple[str, ...] = (COMMAND,)
    if "--" in words:
        command = tuple(words[words.index("--") + 1 :]) or command
        del words[words.index("--") :]
    abi, as_json = _own_options(words)
    given: list[str] = []
    plain: list[str] = []
    while words:
        rest = _behind_options(words)
        given += words[: len(words) - len(rest)]
        plain += rest[:1]
        words = rest[1:]
    if len(plain) < 2 or plain[0] not in QUESTIONS:
        what = f"not a question: {plain[0]}" if plain and plain[0] not in QUESTIONS else "nothing is asked about"
        raise UsageError(what, hint=f"usage: {USAGE}; more with sandrun why --help")
    request = options.parse([*given, "--", *command])
    of_launch = request._replace(command=(), profiles=(), overrides=(), replace=(), optional=(), require=())
    if of_launch != options.Request():
        raise UsageError("a question takes the options that say what is granted", hint="see sandrun why --help")
    return Question(plain[0], tuple(plain[1:]), request, abi, as_json)


def _own_options(words: list[str]) -> tuple[int | None, bool]:
    """The options that are no launch's, taken out of the words."""
    as_json = "--json" in words
    words[:] = [word for word in words if word != "--json"]
    abi = None
    for at, word in enumerate(words):
        name, is_joined, value = word.partition("=")
        if name == "--abi":
            value = value if is_joined else "".join(words[at + 1 : at + 2])
            abi = _abi(value)
            del words[at : at + (1 if is_joined else 2)]
            break
    return abi, as_json


def _abi(value: str) -> int:
    from sandrun.primitives.landlock import NEWEST_ABI  # noqa: PLC0415 (few questions need it)

    if not value.isdecimal() or not value.isascii() or int(value) > NEWEST_ABI:
        raise UsageError(f"--abi {value}: not a version of Landlock", hint=f"0 (none) to {NEWEST_ABI}")
    return int(value)


def _behind_options(words: list[str]) -> list[str]:
    """The words from the first on that is no option of a launch."""
    request = options.parse([*words, COMMAND])
    if not request.command:
        options.parse(words)  # the last option lacks its value: click says which
        raise UsageError("a question takes no such option", hint="see sandrun why --help")
    return list(request.command[:-1])


def _judge(question: Question) -> tuple[Judge, int]:
    """The judge of what this request would launch, and the ABI it is asked for. Raises SandrunError."""
    from sandrun.cli.run import prepare  # noqa: PLC0415 (--help does without all this)
    from sandrun.host import System  # noqa: PLC0415
    from sandrun.why.judge import Judge  # noqa: PLC0415
    from sandrun.why.ways import ways  # noqa: PLC0415

    request = question.request
    prepared = prepare(request, request.command, abi=question.abi)
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
