"""What click does of the command line of a launch: everything but the words of nearly every launch, which `options`
reads without it, since the import of click takes longer than the rest of the way to a profile.

Imported when a word is no plain option: then click splits the words, finds unknown options and suggests the right one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sandrun.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandrun.cli.options import Option


def split(argv: Sequence[str], options: Sequence[Option]) -> tuple[list[tuple[Option, str]], tuple[str, ...]]:
    """The options that are given, each with its value, and the words of the command. Raises UsageError."""
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
    return given, rest


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


def _split(argv: Sequence[str], options: Iterable[Option]) -> tuple[list[tuple[Option, str]], tuple[str, ...]]:
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
    named = [by_dest[param.name] for param in order if param.name in by_dest]
    return list(_in_order(values, named)), tuple(rest)


def usage_error(error: click.UsageError, usage: str = "sandrun --help") -> UsageError:
    """click's complaint in the words of this program; `usage` is the command that shows the right ones."""
    hint = f"see {usage}"
    if isinstance(error, click.NoSuchOption):
        if error.possibilities:
            hint = "did you mean " + " or ".join(sorted(error.possibilities)) + "?"
        return UsageError(f"no such option: {error.option_name}", hint=hint)
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=hint)


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
