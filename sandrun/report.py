"""What sandrun tells: messages, and the record of a run, as text for people and JSON for programs.

Values of environment variables are in no document: a Plan does not hold them. Every document starts with
`"sandrun": 1`, the version of its keys. Bytes that are not UTF-8 appear in JSON as lone surrogates (`\\udcff`), as
Python reads them.

Imported on every launch: what only a document needs is imported where it is made.
"""

from __future__ import annotations

import os

from sandrun import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from sandrun.plan.draft import Protection
    from sandrun.plan.resolve import Resolution
    from sandrun.primitives.cgroup import Events
    from sandrun.supervise import Outcome

SCHEMA = 1
SIGSYS = 31
LONGEST_LINE = 4096


def printable(text: str) -> str:
    """`text` with everything escaped that a terminal could act on, or that is no character: names may be hostile."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def _shorten(line: str) -> str:
    """Both ends of a line that would fill the screen: what a message names can be 128 kB long, and its reason is last."""
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} [...] {line[-LONGEST_LINE // 4 :]}"


def say(lines: Iterable[str]) -> None:
    """Write messages to stderr, each behind `sandrun: `. If stderr takes none there is nobody left to tell."""
    data = "".join(f"sandrun: {_shorten(printable(line))}\n" for line in lines).encode()
    try:
        _write(2, data)
    except OSError:
        return


def say_json(document: Mapping[str, Any]) -> None:
    """Write a document to stderr, as one line of its own."""
    try:
        _write(2, to_json({"sandrun": SCHEMA, **document}).encode())
    except OSError:
        return


def warn(warnings: Iterable[str]) -> None:
    """`say` them as warnings."""
    say(f"warning: {warning}" for warning in warnings)


def emit(text: str) -> None:
    """Write what was asked for to stdout.

    A reader that went away (`| head`) has what it wanted. Any other failure is a SandrunError: what was asked for has
    not been delivered.
    """
    try:
        _write(1, text.encode("utf-8", "surrogateescape"))
    except BrokenPipeError:
        return
    except OSError as error:
        raise errors.SandrunError(f"cannot write: standard output: {reason(error)}") from None


def reason(error: OSError) -> str:
    """`strerror (ENAME)`."""
    import errno  # noqa: PLC0415 (only when something failed)

    name = errno.errorcode.get(error.errno or 0, "")
    return f"{error.strerror} ({name})" if name else str(error)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def to_json(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    """One JSON text with a final newline; ASCII, so that any bytes survive any reader."""
    import json  # noqa: PLC0415 (10 ms that a plain launch does not pay)

    return json.dumps(document, indent=indent) + "\n"


def event(name: str, **values: Any) -> bytes:
    """A line of `--status-fd`."""
    return to_json({"sandrun": SCHEMA, "event": name, **values}).encode()


def planned(resolution: Resolution) -> bytes:
    """The event that tells what will be enforced. It has no word of the command's, and no value of a variable."""
    lines = (*resolution.warnings, *not_enforced(resolution.enforcement))
    return event("planned", warnings=lines, enforcement=protections(resolution.enforcement))


# --- the record of the run -----------------------------------------------------------------------------------------


def status(outcome: Outcome) -> int:
    """The exit status of a command that ran: its own, 128 + n for a signal, 124 for the timeout."""
    if outcome.timed_out:
        return errors.EXIT_TIMEOUT
    return 128 + outcome.signal if outcome.signal else outcome.status


def ending(outcome: Outcome) -> list[str]:
    """The lines for stderr about how the command ended, where its status alone would leave the user guessing."""
    lines: list[str] = []
    if outcome.timed_out:
        lines.append("the command was ended by the timeout")
    elif outcome.signal == SIGSYS:
        lines.append("the command died of SIGSYS: it made a syscall that the profile refuses with kill-process")
        lines.append('hint: the kernel log names it (journalctl -k -g type=1326, "syscall=")')
    if outcome.network is not None:
        from sandrun import traffic  # noqa: PLC0415 (only where a relay was)

        lines += traffic.ending(outcome.network, failed=status(outcome) != 0)
    if outcome.resources:
        lines += _limits_reached(outcome.resources)
    if outcome.survivors:
        lines.append("cannot end processes of the command: " + ", ".join(map(str, outcome.survivors)))
    lines += [f"cannot remove: {path}: {why}" for path, why in _left(outcome)]
    return lines


def _limits_reached(events: Events) -> list[str]:
    """What a limit of the control group did: SIGKILL and EAGAIN alone do not tell."""
    lines = []
    if events.oom_kills:
        limit = f"its limit of {_size(events.memory_limit)} (resources.memory)" if events.memory_limit else "a limit"
        lines.append(f"out of memory: the command reached {limit}, and the kernel killed processes of it")
    if events.pids_refused:
        lines.append("the command reached its limit of processes (resources.pids): some could not be started")
    return lines


def _size(amount: int) -> str:
    """Bytes as a profile writes them."""
    for unit, factor in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if amount and not amount % factor:
            return f"{amount // factor}{unit}"
    return str(amount)


def _resources(events: Events | None) -> dict[str, Any] | None:
    if events is None:
        return None
    return {
        "out_of_memory": events.oom_kills > 0,
        "oom_kills": events.oom_kills,
        "memory_peak": events.memory_peak if events.memory_peak >= 0 else None,
        "pids_refused": events.pids_refused,
        "throttled": round(events.throttled, 6),
    }


def _network(record: bytes | None) -> dict[str, Any] | None:
    if record is None:
        return None
    from sandrun import traffic  # noqa: PLC0415 (only where a relay was)

    return traffic.document(record)


def _left(outcome: Outcome) -> list[tuple[str, str]]:
    return [(os.fsdecode(path), reason(OSError(number, os.strerror(number)))) for path, number in outcome.left]


def not_enforced(enforcement: Iterable[Protection]) -> list[str]:
    """At most one warning: what was asked for, made optional, and is not kept here."""
    lost = [f"{protection.key} ({'; '.join(protection.lost)})" for protection in enforcement if protection.lost]
    return ["not enforced here: " + "; ".join(lost)] if lost else []


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """How a run ended, and what it used: times in seconds, `max_rss` in bytes."""
    return {
        "how": "timeout" if outcome.timed_out else "signal" if outcome.signal else "exit",
        "status": outcome.status,
        "signal": outcome.signal,
        "wall": round(outcome.wall, 6),
        "user": round(outcome.user, 6),
        "system": round(outcome.system, 6),
        "max_rss": outcome.max_rss,
        "resources": _resources(outcome.resources),
        "network": _network(outcome.network),
        "killed": outcome.killed,
        "survivors": list(outcome.survivors),
        "left": [{"path": path, "reason": why} for path, why in _left(outcome)],
    }


def run_document(
    command: Sequence[str],
    exit_status: int,
    *,
    resolution: Resolution | None = None,
    outcome: Outcome | None = None,
    workspace: Mapping[str, Any] | None = None,
    locked: Mapping[str, Any] | None = None,
    broker: Sequence[Mapping[str, Any]] | None = None,
    told: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    lines: Sequence[str] = (),
) -> dict[str, Any]:
    """The record that `--report` writes, of a run (`outcome`) or of a failure (`lines`), or of both.

    Times are seconds, `max_rss` is bytes. `started` is whether the command itself ever ran.
    """
    return {
        "sandrun": SCHEMA,
        "command": list(command),
        "status": exit_status,
        "started": outcome is not None and bool(outcome.started),
        "errors": list(lines),
        "warnings": list(resolution.warnings) if resolution else [],
        "outcome": outcome_document(outcome) if outcome is not None else None,
        "workspace": workspace,
        "locked": locked,
        "broker": list(broker) if broker is not None else None,
        "explained": None,
        "trace": None,
        "used": None,
        **(told or {}),
        "plan": plan,
        "protections": protections(resolution.enforcement) if resolution else [],
    }


def protections(enforcement: Iterable[Protection]) -> list[dict[str, Any]]:
    """Each protection of the record, as JSON holds it."""
    return [
        {
            "key": protection.key,
            "state": protection.state,
            "mechanisms": list(protection.mechanisms),
            "requested": list(protection.requested),
            "lost": list(protection.lost),
            "notes": list(protection.notes),
        }
        for protection in enforcement
    ]
