"""The words on the command line of a launch: one click option for each key of `profile.keys.KEYS`, and a few of its own.

click splits the words, finds unknown options and suggests the right one. What a value means is for `profile` to
decide, so that a flag and the same line in a file are read by the same code and complained of in the same words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from sandrun.errors import UsageError
from sandrun.profile.bad import Bad
from sandrun.profile.keys import KEYS
from sandrun.profile.units import size

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
    report: str = ""
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
    Option("--report", "FILE", "Write a JSON record of the run to FILE."),
    Option("--quiet", "", "No warnings.", "-q"),
    Option("--verbose", "", "Print what is enforced before the command starts.", "-v"),
    Option("--version", "", "Print the version."),
    Option("--help", "", "Print this help.", "-h"),
)
TABLE_TITLES = {
    "filesystem": "Files",
    "network": "Network",
    "syscalls": "Syscalls",
    "privileges": "Privileges",
    "process": "Process",
    "environment": "Environment",
    "rlimits": "Resource limits",
    "resources": "Resource limits",
    "time": "Time",
}


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
    try:
        # click takes 40 microseconds to make an option, so the first try is with those that occur.
        given, rest = _split(argv, [option for option in options if _occurs(option, argv)])
    except click.UsageError:
        try:
            given, rest = _split(argv, options)
        except click.UsageError as error:
            _refuse_one_dash(argv, options, error)
            raise usage_error(error) from None
    _refuse_one_dash(argv[: len(argv) - len(rest)], options)
    request = _request(given, rest)
    if not (request.command or request.help or request.version):
        raise UsageError("no command given", hint=f"usage: {USAGE}; more with sandrun --help")
    if request.explain and request.dry_run:
        raise UsageError("--explain and --dry-run do not go together", hint="sandrun why asks without running anything")
    if request.json and not (request.dry_run or request.explain):
        raise UsageError("--json goes with --dry-run or --explain", hint="--report FILE writes a JSON record of a run")
    return request


def _refuse_one_dash(words: Sequence[str], options: Iterable[Option], error: click.UsageError | None = None) -> None:
    """Raise UsageError if one of the words is a long option with one dash, and be it that `-profile` means `-p rofile`.

    `error` is what click said. Then only words with the option that it did not know can be meant.
    """
    names = {option.name.removeprefix("-") for option in options}
    unknown = error.option_name if isinstance(error, click.NoSuchOption) else ""
    for word in words:
        if word in ("--", unknown) or (error and not unknown):
            return
        name = word.partition("=")[0]
        if name in names and unknown.removeprefix("-") in name:
            raise UsageError(f"no such option: {name}", hint=f"did you mean -{name}?")


def _occurs(option: Option, argv: Sequence[str]) -> bool:
    """Whether a word could be this option; one that only looks like it costs nothing but the time."""
    if option.short and any(word[:1] == "-" and word[:2] != "--" for word in argv):
        return True
    return any(word.startswith(option.name) for word in argv)


def _split(argv: Sequence[str], options: Iterable[Option]) -> tuple[Iterator[tuple[Option, str]], tuple[str, ...]]:
    """The options that are given, each with its value, and the words of the command. Raises click.UsageError."""
    by_dest = {_dest(option): option for option in options}
    command = click.Command(
        "sandrun", params=[_click_option(option) for option in by_dest.values()], add_help_option=False
    )
    context = click.Context(command, info_name="sandrun", allow_interspersed_args=False)
    parser = command.make_parser(context)
    # click looks for `-q` among the long names first, and spends 4 ms on suggestions before it tries the short ones.
    parser._long_opt.update(parser._short_opt)
    values, rest, order = parser.parse_args(list(argv))
    return _in_order(values, [by_dest[param.name] for param in order if param.name in by_dest]), tuple(rest)


def usage_error(error: click.UsageError, usage: str = "sandrun --help") -> UsageError:
    """click's complaint in the words of this program; `usage` is the command that shows the right ones."""
    hint = f"see {usage}"
    if isinstance(error, click.NoSuchOption):
        if error.possibilities:
            hint = "did you mean " + " or ".join(sorted(error.possibilities)) + "?"
        return UsageError(f"no such option: {error.option_name}", hint=hint)
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def help_text() -> str:
    """The whole of `sandrun --help`, options grouped by the tables of a profile."""
    formatter = click.HelpFormatter(max_width=100)
    formatter.write_usage("sandrun", "[OPTIONS] [--] COMMAND [ARGS]...")
    for line in VERB_USAGE:
        formatter.write(f"       {line}\n")
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(
            "Run COMMAND with only what a profile and the options grant. Everything else is refused, or the command "
            "does not run (status 125). See sandrun(1) and sandrun-profile(5)."
        )
    groups: dict[str, list[tuple[str, str]]] = {"Profiles": _rows(PROFILE_OPTIONS)}
    for option in key_options():
        title = TABLE_TITLES[option.key.partition(".")[0]]
        groups.setdefault(title, []).extend(_rows([option]))
    groups["This run"] = _rows(RUN_OPTIONS)
    for title, rows in groups.items():
        with formatter.section(title):
            formatter.write_dl(rows, col_max=34)
    return formatter.getvalue()


def _rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    rows = []
    for option in options:
        if option.text == "false":
            continue
        names = f"{option.short}, {option.name}" if option.short else option.name
        if option.text == "true":
            names += ", --no-" + option.name.removeprefix("--")
        rows.append((f"{names} {option.metavar}".rstrip(), option.help))
    return rows


def _dest(option: Option) -> str:
    return "opt_" + option.name.removeprefix("--").replace("-", "_")


def _click_option(option: Option) -> click.Option:
    names = [option.name, _dest(option)]
    if option.short:
        names.insert(0, option.short)
    if option.metavar:
        return click.Option(names, multiple=True, type=click.UNPROCESSED)
    return click.Option(names, is_flag=True)


def _in_order(values: dict[str, object], given: Iterable[Option]) -> Iterator[tuple[Option, str]]:
    """Each option as it was given, with its value: click keeps the order and the values in two places."""
    taken: dict[str, Iterator[str]] = {}
    for option in given:
        if option.metavar:
            queue = taken.setdefault(option.name, iter(values[_dest(option)]))  # type: ignore[call-overload]
            yield option, next(queue)
        else:
            yield option, option.text


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
