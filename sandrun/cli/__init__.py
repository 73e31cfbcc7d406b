"""The command line: words → a launch or a verb → an exit status. The one place where an error becomes lines and a status.

A verb counts only as the first word, so that `sandrun -- profile` still runs a command of that name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sandrun.errors import SandrunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VERBS = {"doctor": "sandrun.cli.doctor", "profile": "sandrun.cli.profile"}
"""Each verb and the module whose `main(argv)` it is."""
EXIT_USAGE = 2
"""Wrong usage of a verb; of a launch it is 125 like every other failure, since 2 may be the command's own status."""
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun` say and return the exit status."""
    verb = VERBS.get(argv[0]) if argv else None
    try:
        if verb is None:
            from sandrun.cli.run import main as launch  # noqa: PLC0415 (a verb does without it)

            return launch(argv)
        return _verb(verb, argv[1:])
    except SandrunError as error:
        from sandrun.report import say  # noqa: PLC0415

        say(error.lines())
        return EXIT_USAGE if verb and isinstance(error, UsageError) else error.status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _verb(module: str, argv: Sequence[str]) -> int:
    import click  # noqa: PLC0415

    from sandrun.cli.options import usage_error  # noqa: PLC0415

    run: Callable[[Sequence[str]], int] = import_module(module).main
    try:
        return run(argv)
    except click.UsageError as error:
        raise usage_error(error, f"sandrun {module.rpartition('.')[2]} --help") from None
