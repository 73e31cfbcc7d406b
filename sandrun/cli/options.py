"""The words on the command line of a launch: one click option for each key of `profile.keys.KEYS`, and a few of its own.

What a value means is for `profile` to decide, so that a flag and the same line in a file are read by the same code and
complained of in the same words. What the words of a launch cannot be read without is in `clicked`.
"""

from __future__ import annotations

from sandrun.errors import UsageError
from sandrun.named import NamedTuple
from sandrun.profile.bad import Bad
from sandrun.profile.keys import KEYS
from sandrun.profile.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Option(NamedTuple):
    """An option of the command line. One without a metavar is a flag and takes no value."""

    name: str
    metavar: str
    help: str
    short: str = ""
    key: str = ""
    """The key path that it writes, or "" for an option that is no key."""
    text: str = ""
    """What a flag writes."""
    choices: tuple[str, ...] = ()


class Override(NamedTuple):
    """One flag on top of the profiles: the key path, the value as written, and the flag for messages."""

    key: str
    text: str
    flag: str


class Request(NamedTuple):
    """What one command line asks for. `command` is empty only where `help` or `version` is set."""

    command: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    replace: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    on_exit: str = "keep"
    overlay_size: int = 0
    locked: bool = False
    dry_run: bool = False
    explain: bool = False
    json: bool = False
    status_fd: str = ""
    hold: str = ""
    report: str = ""
    exec: bool = False
    quiet: bool = False
    verbose: bool = False
    help: bool = False
    version: bool = False


USAGE = "sandrun [OPTIONS] [--] COMMAND [ARGS]..."
VERB_USAGE = (
    "sandrun profile list|show|check|schema|diff|audit",
    "sandrun doctor",
    "sandrun learn",
    "sandrun lock",
    "sandrun report",
    "sandrun shrink",
    "sandrun trace",
    "sandrun up",
    "sandrun why",
    "sandrun workspace list|diff|commit|discard",
)

PROFILE_OPTIONS = (
    Option(
        "--profile", "NAME|FILE", "Start from this profile; repeatable. Without it: default. `none` is empty.", "-p"
    ),
    Option("--replace", "KEY", "Drop what the profiles say for KEY before the flags add to it."),
    Option("--optional", "KEY", "Run even where this kernel cannot keep the protection KEY."),
    Option("--require", "FACT", "Refuse to run unless the doctor finds FACT, such as landlock>=4."),
)
RUN_OPTIONS = (
    Option(
        "--on-exit",
        "ask|commit|discard|keep",
        "What becomes of what was changed below --overlay (default: keep).",
        choices=("ask", "commit", "discard", "keep"),
    ),
    Option("--overlay-size", "SIZE", "Never commit more than SIZE."),
    Option("--locked", "", "Run only under the policy of the profile's lock; status 123 if the run needed more."),
    Option("--dry-run", "", "Print what would be enforced, and how; run nothing.", "-n"),
    Option("--explain", "", "Tell what the command was refused, and what it likely failed of."),
    Option("--json", "", "With --dry-run: print JSON. With --explain: tell it as a line of JSON."),
    Option("--status-fd", "FD", "Write events as JSON lines to file descriptor FD."),
    Option("--hold", "READY:GO", "Once confined, write to descriptor READY, and start when the full pipe GO is read."),
    Option("--report", "FILE", "Write a JSON record of the run to FILE."),
    Option("--exec", "", "Become the command: no process of sandrun stays. Only where none is needed."),
    Option("--quiet", "", "No warnings.", "-q"),
    Option("--verbose", "", "Print what is enforced before the command starts.", "-v"),
    Option("--version", "", "Print the version."),
    Option("--help", "", "Print this help.", "-h"),
)


def key_options() -> Iterator[Option]:
    """The options of `KEYS`, in its order; a boolean key gives two, `--x` and `--no-x`."""
    for key in KEYS:
        if not key.option:
            continue
        if key.kind == "bool":
            yield Option(key.option, "", key.help, key.short, key.path, "true")
            yield Option("--no-" + key.option.removeprefix("--"), "", "", "", key.path, "false")
        else:
            metavar = "|".join(key.choices) or key.metavar
            yield Option(key.option, metavar, key.help, key.short, key.path, choices=key.choices)


def all_options() -> tuple[Option, ...]:
    """Every option of a launch."""
    return (*PROFILE_OPTIONS, *key_options(), *RUN_OPTIONS)


def parse(argv: Sequence[str]) -> Request:
    """Read the command line of a launch; options end at the first word that is none.

    Raises UsageError for an unknown option, a missing value or a missing command.
    """
    options = all_options()
    plain = _plain(argv, options)
    if plain is None:
        from sandrun.cli import clicked  # noqa: PLC0415 (most launches are plain)

        plain = clicked.split(argv, options)
    given, rest = plain
    request = _request(given, rest)
    if not (request.command or request.help or request.version):
        raise UsageError("no command given", hint=f"usage: {USAGE}; more with sandrun --help")
    if request.explain and request.dry_run:
        raise UsageError("--explain and --dry-run do not go together", hint="sandrun why asks without running anything")
    if request.exec:
        _refuse_with_exec(request)
    if request.json and not (request.dry_run or request.explain):
        raise UsageError("--json goes with --dry-run or --explain", hint="--report FILE writes a JSON record of a run")
    return request


def _refuse_with_exec(request: Request) -> None:
    """Raise UsageError for what is done after the command has ended, when nobody is left to do it."""
    for name in ("report", "status_fd", "hold", "locked", "explain"):
        if getattr(request, name):
            raise UsageError(f"--exec and --{name.replace('_', '-')} do not go together")


def _plain(argv: Sequence[str], options: Iterable[Option]) -> tuple[list[tuple[Option, str]], tuple[str, ...]] | None:
    """What click would make of `argv`, where each word that belongs to sandrun is an option as the help shows it.

    None if one is not: short options in one word, a value that looks like an option, anything wrong.
    """
    by_name = {name: option for option in options for name in (option.name, option.short)}
    given: list[tuple[Option, str]] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return given, tuple(words)
        if word[:1] != "-" or word == "-":
            return given, (word, *words)
        name, equals, value = word.partition("=")
        option = by_name.get(name)
        if option is None or (equals and (not option.metavar or name == option.short)):
            return None
        if not option.metavar:
            value = option.text
        elif not equals:
            value = next(words, "-")
            if value[:1] == "-":
                return None
        given.append((option, value))
    return given, ()


def _request(given: Iterable[tuple[Option, str]], command: tuple[str, ...]) -> Request:
    overrides: list[Override] = []
    lists: dict[str, list[str]] = {"profile": [], "replace": [], "optional": [], "require": []}
    plain: dict[str, str] = {}
    for option, text in given:
        name = option.name.removeprefix("--").replace("-", "_")
        if option.key:
            overrides.append(Override(option.key, text, option.name))
        elif name in lists:
            lists[name].append(text)
        elif option.metavar and not text:
            raise UsageError(f"{option.name} needs a value: it is an empty word")
        else:
            plain[name] = text
    return Request(
        command=command,
        profiles=tuple(lists["profile"]),
        overrides=tuple(overrides),
        replace=tuple(lists["replace"]),
        optional=tuple(lists["optional"]),
        require=tuple(lists["require"]),
        on_exit=_choice("--on-exit", plain.pop("on_exit", "keep")),
        overlay_size=read_size("--overlay-size", plain.pop("overlay_size", "0")),
        status_fd=plain.pop("status_fd", ""),
        hold=plain.pop("hold", ""),
        report=plain.pop("report", ""),
        **dict.fromkeys(plain, True),
    )


def _choice(name: str, text: str) -> str:
    choices = next(option.choices for option in RUN_OPTIONS if option.name == name)
    if text not in choices:
        raise UsageError(f"{name} {text}: not one of {', '.join(choices)}")
    return text


def read_size(name: str, text: str) -> int:
    """The bytes that an option names. Raises UsageError."""
    try:
        return size(text)
    except Bad as bad:
        raise UsageError(f"{name} {text}: {bad.message}", hint=bad.hint) from None
