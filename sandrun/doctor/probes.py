"""What this kernel, this user and this container let a process do, found by doing it.

Each probe is a forked child that tries the steps of one mechanism for real and ends; nothing of it is left. Too slow for
a launch: `doctor` asks for everything, a launch only for the facts that its profile requires.
"""

from __future__ import annotations

import errno
import os
import resource
import struct
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.doctor.surroundings import SYSCTLS, container, hidepid, read, security_modules, sysctl
from sandrun.errors import SandrunError
from sandrun.kernel import NAMESPACES, PROBED, Kernel, with_broker, with_namespaces
from sandrun.policy import syscalls
from sandrun.primitives import cgroup_probe, landlock_names, namespaces, seccomp
from sandrun.primitives.landlock import FS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandrun.primitives.cgroup_place import Cgroup
    from sandrun.profile.model import Value

    Step = tuple[str, Callable[[], object]]

NOBODY = 65534
_NO_ANSWER = 255
"""The exit status of a probe that ended otherwise than its steps say; no errno is as large."""
_ANSWER = errno.EXDEV
"""What the trial filter answers, and nothing else does."""


class Trial(NamedTuple):
    """What came of trying: the last step begun, and its errno or the signal that ended it there (0: all steps worked)."""

    step: str
    error: int = 0
    signal: int = 0

    @property
    def works(self) -> bool:
        return not self.error and not self.signal

    def __str__(self) -> str:
        if self.signal:
            return f"{self.step}: killed by signal {self.signal}"
        return f"{self.step}: {libc.strerror(self.error)}" if self.error else "works"


class Facts(NamedTuple):
    """What `doctor` knows besides the Kernel. An absent sysctl is not in `sysctls`."""

    landlock: Trial
    landlock_errata: int
    seccomp: Trial
    notify: Trial
    ids: Trial
    namespaces: tuple[tuple[str, Trial], ...]
    cgroup: Cgroup
    lsm: tuple[str, ...] = ()
    label: str = ""
    no_new_privs: bool = False
    seccomp_mode: int = 0
    sysctls: tuple[tuple[str, str], ...] = ()
    hidepid: str = ""
    container: str = ""
    broker: str = "it was not tried"
    """As in Kernel."""

    def namespace(self, name: str) -> Trial:
        """What came of trying this fact of `kernel.NAMESPACES`."""
        return dict(self.namespaces)[name]

    def sysctl(self, name: str) -> str:
        """The value of a sysctl, "" if there is none of that name."""
        return dict(self.sysctls).get(name, "")


def probe(kernel: Kernel) -> Facts:
    """Try everything. Raises RuntimeError if the package `landlock` has another opinion than sandrun."""
    landlock_names.compare()
    return Facts(
        landlock=try_landlock(),
        landlock_errata=_errata(),
        seccomp=try_seccomp(kernel.arch),
        notify=attempt((_no_new_privs(), ("load a notifying filter", _load_listener))),
        ids=attempt((("change user and groups", _change_ids),)),
        namespaces=tuple((name, try_namespace(kernel, kind)) for name, kind in NAMESPACES.items()),
        cgroup=cgroup_probe.probe(),
        lsm=security_modules(),
        label=read("/proc/self/attr/current").strip("\0\n"),
        no_new_privs=bool(libc.prctl(libc.PR_GET_NO_NEW_PRIVS)),
        seccomp_mode=libc.prctl(libc.PR_GET_SECCOMP),
        sysctls=tuple((name, value) for name in SYSCTLS if (value := sysctl(name))),
        hidepid=hidepid(),
        container=container(),
        broker=with_broker(kernel).broker,
    )


def with_facts(kernel: Kernel, required: Iterable[Value]) -> Kernel:
    """`kernel` with those facts of PROBED that the entries of `require` name."""
    names = {str(value.value).partition(">=")[0] for value in required} & set(PROBED)
    if not names:
        return kernel
    if names & NAMESPACES.keys():
        kernel = with_namespaces(kernel, user="userns" in names)
    if "cgroup" in names:
        kernel = kernel._replace(probed=(("cgroup", cgroup_probe.probe().usable),))
    return kernel


# --- trials --------------------------------------------------------------------------------------------------------


def attempt(steps: Sequence[Step]) -> Trial:
    """Do these steps in a child, up to the first that raises OSError."""
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        raise SandrunError(f"cannot try anything: fork: {libc.strerror(error.errno or 0)}") from None
    if not pid:
        status = _NO_ANSWER
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a filter that kills would leave a core file
            status = _do(steps, writer)
        finally:
            os._exit(status)
    os.close(writer)
    begun = b""
    while chunk := os.read(reader, len(steps)):
        begun += chunk
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    step = steps[max(len(begun), 1) - 1][0]
    return Trial(step, signal=-status) if status < 0 else Trial(step, status)


def _do(steps: Sequence[Step], writer: int) -> int:
    for _, step in steps:
        os.write(writer, b".")
        try:
            step()
        except OSError as error:
            return error.errno or _NO_ANSWER
    return 0


def _change_ids() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _no_new_privs() -> Step:
    return ("set no_new_privs", lambda: libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1))


def try_landlock() -> Trial:
    """Enter a ruleset that lets no directory be listed, and list one."""
    attr = struct.pack("=Q", FS["read_dir"])

    def enter() -> None:
        libc.landlock_restrict_self(libc.landlock_create_ruleset(attr))

    return attempt((_no_new_privs(), ("enter a ruleset", enter), ("be refused", lambda: _refused("/"))))


def _refused(path: str) -> None:
    try:
        os.listdir(path)
    except PermissionError:
        return
    raise OSError(errno.ENOTSUP, "the ruleset has no effect")


def try_seccomp(arch: str) -> Trial:
    """Load a filter that refuses getsid(2), and call it."""
    number = syscalls.number("getsid", arch)
    if number is None:
        return Trial(f"know the syscalls of {arch}", errno.ENOSYS)
    program = libc.SockFprog(
        struct.pack("=HBBI", 0x20, 0, 0, 0)  # load the number
        + struct.pack("=HBBI", 0x15, 0, 1, number)  # unless it is this, skip one
        + struct.pack("=HBBI", 0x06, 0, 0, seccomp.errno_action(_ANSWER))
        + struct.pack("=HBBI", 0x06, 0, 0, seccomp.ALLOW)
    )

    def call() -> None:
        try:
            os.getsid(0)
        except OSError as error:
            if error.errno == _ANSWER:
                return
        raise OSError(errno.ENOTSUP, "the filter has no effect")

    load: Step = ("load a filter", lambda: libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, 0, program))
    return attempt((_no_new_privs(), load, ("be refused", call)))


def _load_listener() -> None:
    program = libc.SockFprog(struct.pack("=HBBI", 0x06, 0, 0, seccomp.ALLOW))
    libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, libc.SECCOMP_FILTER_FLAG_NEW_LISTENER, program)


def try_namespace(kernel: Kernel, kind: int) -> Trial:
    """Make a namespace of this kind and use it, in a user namespace where a launch would need one."""
    around = libc.CLONE_NEWUSER if kernel.needs_userns else 0
    try:
        step, error, signal = namespaces.attempt(kind | around)
    except OSError as error_:
        raise SandrunError(f"cannot try anything: fork: {libc.strerror(error_.errno or 0)}") from None
    return Trial(step or "use it", error, signal)


def _errata() -> int:
    """The fixed errata as a mask, 0 where the kernel cannot be asked (before Linux 6.15)."""
    try:
        return libc.landlock_create_ruleset(None, libc.LANDLOCK_CREATE_RULESET_ERRATA)
    except OSError:
        return 0
