"""What an unfinished search has found out, kept in a file to go on from.

The file is not trusted: an answer that is wrong can take too much or too little away, but never grant anything, and
what is left at the end is tried once more.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from sandrun.errors import SandrunError
from sandrun.report import SCHEMA, reason
from sandrun.shrink.search import Answers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.shrink.grants import Grant

MAX_BYTES = 16 * 1024 * 1024
MOST_ANSWERS = 100_000


def digest(text: str, effective: str, grants: Sequence[Grant], command: Sequence[str], repeat: int = 1) -> str:
    """What answers depend on: the profile with all that it extends, how it can be shrunk, the command and its place."""
    parts: list[object] = [
        text,
        effective,
        [[list(grant.place), list(grant.forms)] for grant in grants],
        list(command),
        os.getcwd(),
    ]
    parts += [repeat] if repeat > 1 else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load(path: str, about: str) -> Answers:
    """The answers in a file; none if it is not there. Raises SandrunError if it is no such file, or about another test."""
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(MAX_BYTES))
        tried = {str(key): bool(passed) for key, passed in dict(document.get("tried", {})).items()}
        answers = Answers(map(_steps, document["passed"]), map(_steps, document["failed"]), tried)
        same = document["about"] == about
        if len(answers.passed) + len(answers.failed) + len(tried) > MOST_ANSWERS:
            raise ValueError("too many")
    except FileNotFoundError:
        return Answers()
    except OSError as error:
        raise SandrunError(f"cannot read the state: {path}: {reason(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SandrunError(f"cannot read the state: {path}: not made by sandrun shrink") from None
    if not same:
        hint = "remove it, or name another"
        raise SandrunError(f"cannot go on: {path}: the profile, the command or the directory is another", hint=hint)
    return answers


def _steps(raw: list[Any]) -> frozenset[int]:
    if not all(isinstance(step, int) for step in raw):
        raise ValueError(raw)
    return frozenset(raw)


def document(answers: Answers, about: str) -> dict[str, Any]:
    """The file's JSON."""
    return {
        "sandrun": SCHEMA,
        "about": about,
        "passed": [sorted(taken) for taken in answers.passed],
        "tried": answers.tried,
        "failed": [sorted(taken) for taken in answers.failed],
    }
