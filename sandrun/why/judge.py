"""One act of a command under a plan → yes or no, by what, and by which entry of the profile. Pure, over a Host.

What is asked is the resolved plan, as the kernel will be given it: path rules by file, mounts of the view, port rules,
the rules of the relay, and the seccomp programs. The profile is asked only for the entry that is behind it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile

ACTS = ("read", "write", "execute", "create", "remove")
"""What `Judge.file` is asked. `write` of what is absent is `create`; `read` of a directory is to list it."""
NO_WAYS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Entry(NamedTuple):
    """One entry of the profile that decides.

    `origin` is `FILE:LINE: key[0]` or the flag. `through` are the profiles that were extended on the way to that file,
    the one that was asked for first; () for flags and for the file that was asked for itself.
    """

    key: str
    text: str
    origin: str
    through: tuple[str, ...] = ()


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


class Judge:
    """The questions, of one resolution of one profile on one kernel and host.

    `ways` are the chains of `extends` by source, as `why.ways.ways` finds them.
    """

    def __init__(
        self,
        profile: Profile,
        resolution: Resolution,
        kernel: Kernel,
        host: Host,
        ways: Mapping[str, tuple[str, ...]] = NO_WAYS,
    ) -> None:
        raise NotImplementedError

    def file(self, act: str, path: str, rights: int = 0) -> Answer:
        """Whether the command may do `act` (one of ACTS) to `path`, as it names it; relative: from its directory.

        `rights`: ask for these Landlock rights instead of those that follow from the act and from what is there.
        """
        raise NotImplementedError

    def connect(self, target: str, port: int, protocol: str = "tcp") -> Answer:
        """Whether the command may connect (udp: send) to a name or an address, on this port."""
        raise NotImplementedError

    def bind(self, port: int, protocol: str = "tcp") -> Answer:
        """Whether the command may bind a socket to this port."""
        raise NotImplementedError

    def unix(self, path: str) -> Answer:
        """Whether the command may connect to the unix socket at `path`; `abstract:NAME` is an abstract one."""
        raise NotImplementedError

    def syscall(self, name: str, arguments: Sequence[int] = ()) -> Answer:
        """Whether the filters let a syscall through: with these arguments, or, without, with any at all.

        Raises ValueError for a name that no architecture has.
        """
        raise NotImplementedError
