"""What the command may change decides nothing: neither what is read for it, nor what is written, nor who judges that.

A link that it makes counts at the next launch, which the launcher would follow with the rights of the caller.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sandrun.brokered import validator
from sandrun.errors import Problem
from sandrun.plan.siblings import is_below
from sandrun.primitives.view import VIEW_OVERLAY
from sandrun.rooted import links_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandrun.audit.questions import Questions
    from sandrun.brokered.declared import Input
    from sandrun.brokered.target import Target


def problems(inputs: Iterable[Input], targets: Iterable[Target], ask: Questions) -> list[Problem]:
    """Why these inputs and outputs would mean nothing under the plan that `ask` is about; none if they do."""
    found = []
    for each in inputs:
        link = _planted(each.path, ask)
        if link:
            found.append(_through_link(f"input {each.name}", link, str(each.origin)))
    for target in targets:
        found += _of_output(target, ask)
    return found


def _of_output(target: Target, ask: Questions) -> Iterator[Problem]:
    output, origin = target.output, str(target.output.origin)
    place = target.directory if target.missing else target.path
    link = _planted(os.path.dirname(output.path), ask)
    if not ask.against_write(place):
        message = f"the command may itself write the target of output {output.name}: {place}"
        hint = "grant it less, or name a target elsewhere: it needs no right to write"
        yield Problem(origin, message, hint)
    elif link:
        yield _through_link(f"output {output.name}", link, origin)
    for part in validator.parts(output):
        if not ask.against_write(part) or _planted(part, ask):
            message = f"the command may write what judges output {output.name}: {part}"
            yield Problem(origin, message, "grant it less, or keep that elsewhere")


def _through_link(what: str, link: str, origin: str) -> Problem:
    message = f"{what}: {link} is a link that a command in this sandbox could have made"
    return Problem(origin, message, f"name its target if it is meant: {os.path.realpath(link)}")


def _planted(path: str, ask: Questions) -> str:
    """A link on the way to a path, or at its end, that the command may make or exchange; "" if there is none."""
    return next((link for link in links_on(path, ask.host.readlink) if _may_make(os.path.dirname(link), ask)), "")


def _may_make(directory: str, ask: Questions) -> bool:
    # What is made in an overlay is there once that is committed.
    overlays = (os.fsdecode(at) for operation, _, at, _ in ask.plan.view if operation == VIEW_OVERLAY)
    return not ask.against_write(directory) or any(is_below(directory, at) for at in overlays)
