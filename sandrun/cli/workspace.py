"""`sandrun workspace list|diff|commit|discard`: what commands changed in their overlays, and what becomes of it.

Exit status: 0 yes, 1 no (there are changes, or not all could be committed), 2 wrong usage, 125 could not tell.
"""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import click

from sandrun import report
from sandrun.cli.options import read_size
from sandrun.errors import SandrunError, UsageError
from sandrun.workspace import store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sandrun.workspace.store import Workspace

EXIT_NO = 1


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun workspace` say and return the exit status.

    Raises click.UsageError and SandrunError.
    """
    status = workspace.main(args=list(argv), prog_name="sandrun workspace", standalone_mode=False)
    return status if isinstance(status, int) else 0


@click.group(no_args_is_help=False)
def workspace() -> None:
    """Look at what commands changed below --overlay, and commit or discard it."""


def _chosen(verb: Callable[..., int]) -> Callable[..., int]:
    """The words that say which workspaces are meant."""
    verb = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(verb)
    verb = click.option("--all", "every", is_flag=True, help="All workspaces that no command runs in.")(verb)
    return click.argument("ids", metavar="[ID]...", nargs=-1)(verb)


@workspace.command("list")
@click.option("--ids", "only_ids", is_flag=True, help="Ids only, one a line: what completion asks for.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(only_ids: bool, as_json: bool) -> int:
    """Every workspace, the newest first: id, start, state, directories, command."""
    if only_ids:
        report.emit("".join(f"{name}\n" for name in store.ids()))
        return 0
    rows = []
    for name in store.ids():
        try:
            each = store.load(name)
            rows.append((each, store.state(each)))
        except SandrunError as error:
            report.say(error.lines())
        except OSError:
            continue  # removed meanwhile
    if as_json:
        found = [_facts(each) | {"state": state} for each, state in rows]
        report.emit(report.to_json({"sandrun": report.SCHEMA, "workspaces": found}, indent=2))
        return 0
    for each, state in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.started // 10**9))
        line = f"{each.id}  {when}  {state:11}  {' '.join(each.directories)}: {shlex.join(each.command)}"
        report.emit(report.printable(line) + "\n")
    return 0


@workspace.command()
@_chosen
@click.option("--stat", "only_names", is_flag=True, help="Only the names, without unified diffs.")
def diff(ids: tuple[str, ...], every: bool, as_json: bool, only_names: bool) -> int:
    """Print what is changed (A added, M changed, D deleted). Without ID: the newest. Status 1 if anything is."""
    from sandrun.workspace.launch import all_changes  # noqa: PLC0415 (--help does without it)
    from sandrun.workspace.render import details, document, title  # noqa: PLC0415

    count = 0
    for each in _workspaces(ids, every):
        if as_json:
            found = [document(change, directory, upper) for directory, change, upper, _ in all_changes(each)]
            report.emit(report.to_json({"sandrun": report.SCHEMA, **_facts(each), "changes": found}))
            count += len(found)
            continue
        for directory, change, upper, lower in all_changes(each):
            count += 1
            report.emit(title(change, directory, upper) + "\n")
            if not only_names:
                report.emit("".join(f"{line}\n" for line in details(change, upper, lower)))
    return EXIT_NO if count else 0


@workspace.command()
@_chosen
@click.option("--force", is_flag=True, help="Also over what others changed since the start.")
@click.option("--size-limit", metavar="SIZE", help="Refuse more than SIZE, whatever the run said; 0 is no limit.")
def commit(ids: tuple[str, ...], every: bool, as_json: bool, force: bool, size_limit: str | None) -> int:
    """Do the changes to the directories themselves. What somebody else changed is refused and stays (status 1)."""
    from sandrun.workspace.commit import commit as do  # noqa: PLC0415 (--help does without it)
    from sandrun.workspace.launch import committed  # noqa: PLC0415

    status = 0
    limit = read_size("--size-limit", size_limit) if size_limit is not None else None
    for each in _workspaces(ids, every):
        result = do(each if limit is None else each._replace(size_limit=limit), force=force)
        if not result.refused:
            store.remove(each)
        else:
            status = EXIT_NO
        if as_json:
            facts = {
                "committed": result.committed,
                "refused": [left._asdict() for left in result.refused],
                "left_out": [left._asdict() for left in result.left_out],
            }
            report.emit(report.to_json({"sandrun": report.SCHEMA, "id": each.id, **facts}))
        else:
            report.say(committed(each, result))
    return status


@workspace.command()
@_chosen
def discard(ids: tuple[str, ...], every: bool, as_json: bool) -> int:
    """Remove what was changed; the directories stay as they are."""
    store.remove_leftovers()
    for each in _workspaces(ids, every):
        store.remove(each)
        if as_json:
            report.emit(report.to_json({"sandrun": report.SCHEMA, "id": each.id, "discarded": True}))
    return 0


def _workspaces(ids: Sequence[str], every: bool) -> Iterator[Workspace]:
    """What the words name, each locked while it is worked on. Raises UsageError, SandrunError."""
    if ids and every:
        raise UsageError("--all goes without ID")
    found = list(ids) or (store.ids() if every else store.ids()[:1])
    if not found and not every:
        raise SandrunError("there is no workspace", hint="sandrun --overlay DIR -- COMMAND makes one")
    chosen = [store.load(name) for name in dict.fromkeys(found)]
    for each in chosen:
        try:
            with store.locked(each):
                store.remove_work(each)
                yield each
        except BlockingIOError:
            if not every:
                raise SandrunError(
                    f"cannot use workspace {each.id}: it is in use", hint="wait until its command has ended"
                ) from None
        except OSError as error:
            raise SandrunError(f"cannot use workspace {each.id}: {report.reason(error)}") from None


def _facts(each: Workspace) -> dict[str, Any]:
    facts = each._asdict()
    return {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}
