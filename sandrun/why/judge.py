"""One act of a command under a plan → yes or no, by what, and by which entry of the profile. Pure, over a Host.

What is asked is the resolved plan, as the kernel will be given it: path rules by file, mounts of the view, port rules,
the rules of the relay, and the seccomp programs. The profile is asked only for the entry that is behind it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from sandrun.policy.guards import CLONE_NEW
from sandrun.primitives import caps
from sandrun.primitives.landlock import FS
from sandrun.why.answer import Answer
from sandrun.why.calls import Calls
from sandrun.why.entries import Entries, Entry, made_of
from sandrun.why.files import ACTS, Files
from sandrun.why.modes import Person
from sandrun.why.network import ABSTRACT, Network
from sandrun.why.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile

__all__ = ["ACTS", "Answer", "Entry", "Judge"]
NO_WAYS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
NETWORK_GRANTS = ("network.connect", "network.bind", "network.unix")
BIND_LOW = caps.mask(("CAP_NET_BIND_SERVICE",))


class Judge:
    """The questions, of one resolution of one profile on one kernel and host.

    `ways` are the chains of `extends` by source, as `why.ways.ways` finds them. `groups` are the supplementary groups of
    the caller (getgroups(2)); without them those of group(5).
    """

    def __init__(
        self,
        profile: Profile,
        resolution: Resolution,
        kernel: Kernel,
        host: Host,
        ways: Mapping[str, tuple[str, ...]] = NO_WAYS,
        groups: Sequence[int] | None = None,
    ) -> None:
        plan = resolution.plan
        self._calls = Calls(profile, resolution, kernel.arch, ways)
        person = Person(plan, host, resolution.account, groups)
        in_user_namespace = bool(plan.namespaces & CLONE_NEW["CLONE_NEWUSER"])
        may_bind_low = bool(plan.permitted & BIND_LOW) and not in_user_namespace
        self._network = Network(profile, plan, host, self._calls, ways, may_bind_low=may_bind_low)
        self.entries = Entries(profile, resolution, kernel, host, ways)
        """What the profile says of files, behind the plan."""
        self.network_entries = tuple(
            made_of(value, key, ways) for key in NETWORK_GRANTS for value in profile.items(key)
        )
        """The entries that grant places of the network."""
        self._files = Files(plan, Seen(plan, host), host, person, self.entries, self._calls.refused)

    def file(self, act: str, path: str, rights: int = 0) -> Answer:
        """Whether the command may do `act` (one of ACTS) to `path`, as it names it; relative: from its directory.

        `write` of what is absent is `create`, of a directory to make a file in it; `read` of a directory is to list it.
        `rights`: ask for these Landlock rights instead of those that follow from the act and from what is there.
        """
        return self._files.ask(act, path, rights)

    def lets(self, act: str, path: str, rights: int = 0) -> bool:
        """Whether `file` would answer that it is granted: some of the work, where the reason does not matter."""
        return self._files.lets(act, path, rights)

    def connect(self, target: str, port: int, protocol: str = "tcp") -> Answer:
        """Whether the command may connect (udp: send) to a name or an address, on this port.

        Raises profile.bad.Bad for what is neither.
        """
        return self._network.connect(target, port, protocol)

    def bind(self, port: int, protocol: str = "tcp") -> Answer:
        """Whether the command may bind a socket to this port, and listen if it is one of TCP."""
        return self._network.bind(port, protocol)

    def unix(self, path: str) -> Answer:
        """Whether the command may connect to the unix socket at `path`; `abstract:NAME` is an abstract one."""
        answer = self._network.unix(path)
        if not answer.granted or path.startswith(ABSTRACT):
            return answer
        at_path = self._files.ask("write", path, FS["resolve_unix"])._replace(act=answer.act)
        return at_path if not at_path.granted or at_path.ordinary or not answer.entries else answer

    def syscall(self, name: str, arguments: Sequence[int] = ()) -> Answer:
        """Whether the filters let a syscall through: with these arguments, or, without, with any at all.

        Raises ValueError for a name that no architecture has.
        """
        return self._calls.ask(name, arguments)
