"""A record → what its page says. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandrun.page import grants, reading, run, walls
from sandrun.page.content import Page

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_TITLE = 100


def compose(record: Mapping[str, Any]) -> Page:
    """The page of a record that `reading.parse` gave."""
    words = " ".join(reading.words(record.get("command")))
    status, tone = run.ending(record)
    refused = sum(
        len(reading.rows(finding.get("denials")))
        for finding in reading.rows(reading.member(record, "explained", "findings"))
    )
    unused = grants.unused(record)
    if isinstance(reading.member(record, "explained"), dict):
        status += (
            f" {refused or 'Nothing'} {'thing was' if refused == 1 else 'things were' if refused else 'was'} refused."
        )
    if unused:
        status += f" {unused} {'entry was' if unused == 1 else 'entries were'} not used."
    sections = (
        run.outcome(record),
        run.refused(record),
        grants.section(record),
        walls.network(record),
        run.processes(record),
        run.resources(record),
        walls.syscalls(record),
        run.workspace(record),
        run.locked(record),
        walls.protections(record),
        walls.setting(record),
    )
    title = f"sandrun: {reading.shorten(words, LONGEST_TITLE) or 'a run'}"
    return Page(title, status, tone, tuple(section for section in sections if section))
