"""The command line: words → a launch or a verb → an exit status. The one place where an error becomes lines and a status.

A verb counts only as the first word, so that `sandrun -- profile` still runs a command of that name.
"""

from __future__ import annotations

from sandrun.errors import EXIT_NOT_FOUND, EXIT_SANDRUN, SandrunError, UsageError
from sandrun.native.said import asked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VERBS = {
    "doctor": "sandrun.cli.doctor",
    "learn": "sandrun.cli.learn",
    "lock": "sandrun.cli.lock",
    "profile": "sandrun.cli.profile",
    "report": "sandrun.cli.report",
    "shrink": "sandrun.cli.shrink",
    "trace": "sandrun.cli.trace",
    "up": "sandrun.cli.up",
    "why": "sandrun.cli.why",
    "workspace": "sandrun.cli.workspace",
}
"""Each verb and the module whose `main(argv)` it is."""
INSTEAD = {"help": "sandrun --help", "version": "sandrun --version", "explain": "sandrun --dry-run"}
"""What other programs have as a verb, and sandrun does otherwise."""
NO_VERBS = ("run", "exec")
"""What they have and sandrun has not."""
EXIT_USAGE = 2
"""Wrong usage of a verb; of a launch it is 125 like every other failure, since 2 may be the command's own status."""
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun` say and return the exit status."""
    verb = VERBS.get(argv[0]) if argv else None
    try:
        executor = asked()
        if verb is None:
            from sandrun.cli.run import main as launch  # noqa: PLC0415 (a verb does without it)

            return launch(argv, executor)
        return _verb(verb, argv[1:])
    except SandrunError as error:
        if error.told:
            return error.status
        from sandrun.report import say  # noqa: PLC0415

        is_command = bool(argv) and not verb and not argv[0].startswith("-")
        meant = _meant(argv[0]) if is_command and error.status == EXIT_NOT_FOUND else ""
        say([error.message, f"hint: {meant}"] if meant else error.lines())
        return EXIT_USAGE if verb and isinstance(error, UsageError) else error.status
    except ModuleNotFoundError as error:
        return _not_installed(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _meant(word: str) -> str:
    """What a first word may have meant that is no command that can be found; "" if nobody can tell."""
    from difflib import get_close_matches  # noqa: PLC0415 (few launches need it)

    from sandrun.cli.options import VERB_USAGE  # noqa: PLC0415

    if word in NO_VERBS:
        return f"no verb of sandrun either; these are {', '.join(VERBS)}"
    usages = (usage.rpartition(" ") for usage in VERB_USAGE)
    meant = [f"{verb} {word}" for verb, _, below in usages if word in below.split("|")]
    meant += [INSTEAD[word]] if word in INSTEAD else []
    meant = meant or [f"sandrun {verb}" for verb in get_close_matches(word, VERBS, 1)]
    return f"did you mean {' or '.join(meant)}?" if meant else ""


def _not_installed(error: ModuleNotFoundError) -> int:
    """Say which package is missing. Raises the error if it is not one that sandrun needs."""
    from sandrun.doctor.packages import MODULES  # noqa: PLC0415
    from sandrun.report import say  # noqa: PLC0415

    package = MODULES.get(error.name or "")
    if package is None:
        raise error
    say([f"cannot start: the Python package {package} is not installed", f"hint: pip install {package}"])
    return EXIT_SANDRUN


def _verb(module: str, argv: Sequence[str]) -> int:
    from importlib import import_module  # noqa: PLC0415 (a launch does without these)

    import click  # noqa: PLC0415

    from sandrun.cli.clicked import usage_error  # noqa: PLC0415

    run: Callable[[Sequence[str]], int] = import_module(module).main
    try:
        return run(argv)
    except click.Abort:  # what click makes of an interrupt
        return EXIT_INTERRUPTED
    except click.UsageError as error:
        raise usage_error(error, f"sandrun {module.rpartition('.')[2]} --help") from None
