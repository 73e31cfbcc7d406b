"""The answer to one question about a command: yes or no, by what, and by which entry of the profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sandrun.why.entries import Entry


class Answer(NamedTuple):
    """The answer to one question."""

    act: str
    """What was asked: `write /etc/hosts`, `connect tcp:example.org:443`, `bind tcp:80`, `syscall ptrace`."""
    granted: bool
    """The plan does not refuse it."""
    reason: str
    """One sentence for people, lower case, without a full stop."""
    entries: tuple[Entry, ...] = ()
    """What grants it, or what denies it, the deciding one first; () where no entry grants it."""
    mechanisms: tuple[str, ...] = ()
    """What refuses it ("landlock", "mount", "seccomp", "relay", ...); () if it is granted."""
    ordinary: str = ""
    """Why ordinary permissions (owner, mode, what is there at all) refuse it anyway; "" if they do not."""
    notes: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether it would work: neither the plan nor ordinary permissions refuse it."""
        return self.granted and not self.ordinary

    def as_json(self) -> dict[str, object]:
        """As documents have it."""
        return {
            **self._asdict(),
            "allowed": self.allowed,
            "entries": [{**entry._asdict(), "through": list(entry.through)} for entry in self.entries],
            "mechanisms": list(self.mechanisms),
            "notes": list(self.notes),
        }
