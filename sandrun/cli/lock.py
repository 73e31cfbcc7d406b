"""`sandrun lock`: write down what a profile comes to, and what its runs used, for `--locked` and for review.

Exit status: 0 written, or nothing differs, 1 something differs (with --check), 2 wrong usage, 125 could not tell.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import click

from sandrun import report
from sandrun.cli import options
from sandrun.errors import SandrunError, UsageError
from sandrun.profile.bad import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.lock.document import Lock
    from sandrun.profile.model import Profile

EXIT_DIFFERS = 1
COMMAND = "true"
"""Stands where the command would: a policy does not depend on it."""


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun lock` say and return the exit status.

    Raises click.UsageError and SandrunError.
    """
    status = lock.main(args=list(argv), prog_name="sandrun lock", standalone_mode=False)
    return status if isinstance(status, int) else 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("file", metavar="FILE")
@click.argument("words", metavar="[OPTION]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--used", "reports", metavar="REPORT", multiple=True, help="Add what the run of this --report used.")
@click.option("--check", is_flag=True, help="Write nothing; the status is 1 if the lock differs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lock(file: str, words: tuple[str, ...], reports: tuple[str, ...], check: bool, as_json: bool) -> int:
    """Write the lock of the profile FILE, beside it, and print what it allows more (+), less (-) or otherwise (~).

    Each OPTION is one of a launch and goes on top of the profile.
    """
    from sandrun.lock import uses  # noqa: PLC0415 (--help does without all this)
    from sandrun.lock.document import changes, text  # noqa: PLC0415
    from sandrun.lock.hold import current, here, path_of  # noqa: PLC0415

    if file.startswith("-"):
        raise UsageError(f"not a profile: {file}", hint="the file comes first, as in sandrun lock ./app.toml")
    word = file if "/" in file else f"./{file}"
    path = path_of(word)
    before, old = _existing(path)
    if before is None and check:
        raise SandrunError(f"there is no lock: {escaped(path)}", hint=f"sandrun lock {escaped(word)} makes it")
    now = current(_profile(word, words), word)
    known = before.uses if before else None
    listed = (known or uses.Uses())._replace(denied=(known and known.denied) or ())
    for each in reports:
        now = now._replace(uses=uses.unite(now.uses, uses.of_report(each, here())))
    more = uses.news(now.uses, listed) if now.uses else []
    now = now._replace(uses=uses.unite(known, now.uses))
    difference = [*(changes(before, now) if before else []), *more]
    made = text(now)
    checked(made, now)
    if not check and made != old:
        write(path, made)
    _tell(path, difference, written=not check and made != old, new=before is None, as_json=as_json)
    return EXIT_DIFFERS if check and difference else 0


def _existing(path: str) -> tuple[Lock | None, str]:
    """The lock that is there, and its text; None if nothing is. Raises SandrunError."""
    from sandrun.lock.document import load  # noqa: PLC0415 (--help does without it)

    if not os.path.lexists(path):
        return None, ""
    found = load(path, escaped(path))
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return found, file.read()
    except OSError as error:
        raise SandrunError(f"cannot read the lock: {escaped(path)}: {report.reason(error)}") from None


def _profile(word: str, words: Sequence[str]) -> Profile:
    """What a launch with this profile and these options would be under. Raises SandrunError."""
    from sandrun.profile import load  # noqa: PLC0415 (--help does without it)

    request = options.parse(["--profile", word, *words, "--", COMMAND])
    if request.command != (COMMAND,):
        raise UsageError(f"not an option: {request.command[0]}", hint="a lock is made without running a command")
    plain = request._replace(command=(), profiles=(), overrides=(), replace=(), optional=(), require=())
    if plain != options.Request():
        raise UsageError("a lock takes the options that say what is granted", hint="see sandrun lock --help")
    return load(
        request.profiles, request.overrides, replace=request.replace, optional=request.optional, require=request.require
    )


def checked(made: str, lock: Lock) -> None:
    """Raise SandrunError if this text would not read as this lock: it could not hold anybody to it."""
    from sandrun.lock.document import changes, parse_text  # noqa: PLC0415 (--help does without it)

    again = parse_text(made, "the lock")
    lost = changes(again, lock)
    if lost or again.uses != lock.uses:
        raise SandrunError(f"cannot be locked: {'; '.join(lost) or 'what was used'} cannot be written down")


def write(path: str, text: str) -> None:
    """Put the text in the place of a lock, whole or not at all. Raises SandrunError."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(8).hex()}")
    try:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            status = None
        if status and not stat.S_ISREG(status.st_mode):
            raise SandrunError(f"cannot write the lock: {escaped(path)}: it is no regular file")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with open(fd, "wb") as file:
                file.write(text.encode())
                if status:
                    os.fchmod(fd, stat.S_IMODE(status.st_mode))
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise SandrunError(f"cannot write the lock: {escaped(path)}: {report.reason(error)}") from None


def _tell(path: str, difference: Sequence[str], *, written: bool, new: bool, as_json: bool) -> None:
    if as_json:
        found = [{"sign": line[0], "text": line[2:]} for line in difference]
        document = {"sandrun": report.SCHEMA, "lock": path, "new": new, "written": written, "changes": found}
        report.emit(report.to_json(document, indent=2))
        return
    lines = [*([f"made {path}"] if new else []), *difference]
    report.emit("".join(f"{report.printable(line)}\n" for line in lines))
