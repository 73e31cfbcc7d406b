"""The tree of processes below this one: who is in it, signals to all of it, and its end.

LIGHT. This process must be a child subreaper (PR_SET_CHILD_SUBREAPER): an orphan of the tree then becomes its child and
not init's, so every process of the tree has a line of parents that ends here, whatever it did with `setsid` and double
forks.

Where Landlock scopes signals (ABI 6), `scope_signals` puts this process into a domain of its own before it starts
anything, and kill(-1) means "all below me": one atomic call that no fork can outrun. Elsewhere the tree is searched.
Two facts keep that safe: a direct child keeps its process id until it is reaped, and only this process reaps it; all
others are verified behind a pidfd.
"""

from __future__ import annotations

import os
import select
import struct
import time

from sandrun import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PF_FORKNOEXEC = 0x40
"""include/linux/sched.h: forked, and has not called execve since."""
_REFER = 1 << 13
"""LANDLOCK_ACCESS_FS_REFER."""
_SIGNAL_SCOPE = struct.pack("=QQQ", 0, 0, 2)
_SIGNAL_SCOPE_AND_REFER = struct.pack("=QQQ", _REFER, 0, 2)
"""struct landlock_ruleset_attr: file access, network, LANDLOCK_SCOPE_SIGNAL."""
KILL_SECONDS = 30.0
"""How long processes may take to die of SIGKILL before they count as survivors."""
_SETTLE_MS = 20
_STATE, _PPID, _FLAGS, _TIMES = 0, 1, 6, slice(11, 15)


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat behind the command's name, which may hold spaces and brackets itself."""
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        line = os.read(fd, 4096)
    finally:
        os.close(fd)
    return line[line.rindex(b")") + 2 :].split()


def has_executed(pid: int) -> bool:
    """Whether a child that is not yet reaped got past `execve`. A zombie still tells.

    Raises OSError if /proc does not tell.
    """
    return not int(_stat(pid)[_FLAGS]) & PF_FORKNOEXEC


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal now. Raises OSError if /proc does not tell."""
    return _stat(pid)[_STATE] == b"T"


def _is_living_child(pid: int) -> bool:
    try:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return info is None or info.si_code == os.CLD_TRAPPED  # stopped, and made us its tracer: reported unasked


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _members(but: int = 0) -> dict[int, int]:
    """Every process below this one and its parent, parents first, as one look at /proc finds them.

    `but` is the pid of a child that does not count, nor what lives below it.
    """
    parents: dict[int, int] = {}
    for pid in _pids():
        try:
            parents[pid] = int(_stat(pid)[_PPID])
        except OSError:
            continue
    members: dict[int, int] = {}
    wave = {os.getpid()}
    while wave := {pid for pid, parent in parents.items() if parent in wave and pid != but}:
        members.update((pid, parents[pid]) for pid in wave)
    return members


def _send(pid: int, parents: tuple[int, ...], signals: tuple[int, ...]) -> None:
    """Signals to one of the members; nothing if it is not that process any more, or may not be signalled.

    `parents`: its parent when it was found, and those that it may have got since. The second look comes when the pidfd
    pins the process. For a stranger to pass it, both ids would have to be given out again within it, to a process and
    its child.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if int(_stat(pid)[_PPID]) in parents:
            for signal in signals:
                libc.pidfd_send_signal(pidfd, signal)
    except OSError:
        return
    finally:
        os.close(pidfd)


def scope_signals(*, refer: bool) -> bool:
    """From here on signals of this process, and of all it starts, reach only this process and what it starts.

    Needs Landlock ABI 6 and CAP_SYS_ADMIN, or no_new_privs (which it sets). False if it is not in force. That is
    proved, since kill(-1) by root rests on it: a process that could be signalled before may not be any more (EPERM; one
    that has ended proves nothing). Irreversible.

    `refer`: let files be moved and linked between directories. A domain that does not grant that forbids it as soon as
    one below it handles any file access. But one that handles file access forbids to mount (landlock(7)).
    """
    witness = os.getppid()
    zombie = 0
    if not _can_signal(witness):
        witness = zombie = _zombie()
    try:
        ruleset = libc.landlock_create_ruleset(_SIGNAL_SCOPE_AND_REFER if refer else _SIGNAL_SCOPE)
        try:
            if refer:
                _grant_refer(ruleset)
            libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
            libc.landlock_restrict_self(ruleset)
        finally:
            os.close(ruleset)
        return _may_not_signal(witness)
    except OSError:
        return False
    finally:
        if zombie:
            os.waitpid(zombie, 0)


def _grant_refer(ruleset: int) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc.landlock_add_rule(ruleset, libc.LANDLOCK_RULE_PATH_BENEATH, struct.pack("=Qi", _REFER, root))
    finally:
        os.close(root)


def _zombie() -> int:
    """A child that has ended and is not reaped; it is checked for permission like any process (kill(2))."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def _can_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _may_not_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def signal_tree(scoped: bool, *signals: int, init: int = 0) -> None:
    """Send the signals, in this order, to every process of the tree.

    `init` is the init process of their pid namespace, if they have one; it takes no notice. `scoped` is the answer of
    `scope_signals`. Without it a process that is forked meanwhile can be missed.
    """
    if scoped:
        for signal in signals:
            try:
                os.kill(-1, signal)
            except (ProcessLookupError, PermissionError):
                continue
        return
    for pid, parent in _members().items():
        _send(pid, (parent, init, os.getpid()), signals)


def _freeze(end: float) -> None:
    """Stop the whole tree, so that a storm of forks neither goes on nor takes the processor from us.

    A stopped process keeps its place under RLIMIT_NPROC: killed ones would be replaced by those not yet found.
    """
    stopped: set[int] = set()
    while time.monotonic() < end:
        new = {pid: parent for pid, parent in _members().items() if pid not in stopped}
        if not new:
            return
        for pid, parent in new.items():
            _send(pid, (parent, os.getpid()), (libc.SIGSTOP,))
        stopped.update(new)


def stop_here(signal: int) -> None:
    """Stop this process by SIGTSTP, SIGTTIN or SIGTTOU, which must be blocked; returns when it is continued.

    Returns at once where no shell could continue it: in an orphaned process group (credentials(7)) the kernel drops
    these signals. So a command that stops itself on a build server does not stop its supervisor.
    """
    os.kill(os.getpid(), signal)
    libc.rt_sigprocmask(libc.SIG_UNBLOCK, libc.signal_bit(signal))
    libc.rt_sigprocmask(libc.SIG_BLOCK, libc.signal_bit(signal))


def reap(but: int = 0) -> tuple[int, bool]:
    """Reap zombie children, up to the one whose id is `but`.

    Returns how many of them SIGKILL had ended, and whether a child is left.
    """
    killed = 0
    while True:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return killed, False
        if info is None or info.si_pid == but:
            return killed, True
        os.waitpid(info.si_pid, 0)
        killed += info.si_code == os.CLD_KILLED and info.si_status == libc.SIGKILL


def has_others(but: int) -> bool:
    """Whether anything lives below this process besides its child `but` and what lives below that."""
    return any(map(_is_alive, _members(but)))


def inside(init: int, but: int = 0) -> int:
    """How many processes live in a pid namespace, besides its init process and our own children.

    `but` is the pid of a child that lives outside of it, and so does what lives below that.
    """
    try:
        with open(f"/proc/{init}/task/{init}/children", "rb") as file:
            if not file.read():
                return 0  # an orphan is init's child, so nothing lives below one either
    except OSError:
        pass  # a kernel without CONFIG_PROC_CHILDREN
    return sum(parent != os.getpid() and _is_alive(pid) for pid, parent in _members(but).items())


def times(but: int = 0) -> tuple[float, float]:
    """The processor time, user and system in seconds, of all below this process and of what that has waited for.

    `but` is the pid of a child that does not count, nor what lives below it.
    """
    user = system = 0
    for pid in _members(but):
        try:
            own_user, own_system, waited_user, waited_system = map(int, _stat(pid)[_TIMES])
        except OSError:
            continue  # it ended meanwhile
        user += own_user + waited_user
        system += own_system + waited_system
    ticks = os.sysconf("SC_CLK_TCK")
    return user / ticks, system / ticks


def _is_alive(pid: int) -> bool:
    """Whether it is more than a zombie. One whose first thread alone has ended only looks like one."""
    try:
        return _stat(pid)[_STATE] != b"Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def kill_tree(
    seconds: float, signal_fd: int, *, scoped: bool, init: tuple[int, int] | None = None
) -> tuple[int, tuple[int, ...]]:
    """Kill every descendant and reap it, for at most so many seconds.

    Returns the number killed and the ids of the children that would not die (another user's, or stuck in the kernel).
    `signal_fd` reports SIGCHLD, to wait on; what else it reports is dropped. `init` is the pid
    and a pidfd of the init process of a pid namespace: with it the kernel kills all that is in there.

    Without the scope: killing children makes their children ours, so the tree ends level by level, and a process with
    a pending SIGKILL cannot fork, so each kill is final. A chain that forks and exits all the time is always a child
    of ours, and the look for one costs less than a fork.
    """
    end = time.monotonic() + seconds
    killed = end_namespace(*init, seconds) if init else 0
    more, any_left = reap()
    killed += more
    if not any_left:
        return killed, ()
    _hurry()
    poll = select.poll()
    poll.register(signal_fd, select.POLLIN)
    strangers: set[int] = set()
    rounds = 0
    while any_left and time.monotonic() < end:
        if scoped:
            signal_tree(scoped, libc.SIGKILL)
        else:
            _kill_children(_pids(), strangers)
            if rounds % 8 == 3:
                _freeze(end)
                signal_tree(scoped, libc.SIGKILL)
            if rounds % 64 == 63:
                _kill_children(_all_ids(end), strangers)
        more, any_left = reap()
        killed += more
        if more:
            strangers.clear()  # the children of those that died are ours now
        rounds += 1
        if any_left and more == 0 and poll.poll(_SETTLE_MS):
            os.read(signal_fd, 4096)
    return killed, tuple(pid for pid in _pids() if _is_living_child(pid)) if any_left else ()


def end_namespace(init: int, pidfd: int, seconds: float, but: int = 0) -> int:
    """Kill an init process, and wait until its namespace is empty. Returns how many others that killed.

    Our own children in there must be reaped meanwhile: init ends after all others. They and init itself are counted when
    they are reaped, so init is taken off here. `but` is as for `inside`.
    """
    others = inside(init, but)
    try:
        libc.pidfd_send_signal(pidfd, libc.SIGKILL)
    except ProcessLookupError:
        return others  # it is reaped
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    end = time.monotonic() + seconds
    while not poll.poll(_SETTLE_MS / 10) and time.monotonic() < end:
        others += reap()[0]
    return others - 1


def _kill_children(pids: Iterable[int], strangers: set[int]) -> None:
    """Kill those that are children of this process, remember those that are not and skip them next time."""
    for pid in pids:
        if pid in strangers:
            continue
        if not _is_living_child(pid):
            strangers.add(pid)
            continue
        try:
            os.kill(pid, libc.SIGKILL)
        except PermissionError:
            continue  # it changed its user: it shows up among the survivors


def _hurry() -> None:
    """Against a thousand busy processes, this one gets a thousandth of the time, unless it may ask for more."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except PermissionError:
        return


def _all_ids(end: float) -> Iterator[int]:
    """Every possible process id, newest first: a /proc mounted with hidepid does not list all children (proc(5))."""
    with open("/proc/sys/kernel/pid_max", "rb") as file:
        highest = int(file.read())
    with open("/proc/loadavg", "rb") as file:
        newest = int(file.read().split()[-1])
    for ids in (range(newest, 0, -1), range(highest, newest, -1)):
        for pid in ids:
            if not pid % 4096 and time.monotonic() > end:
                return
            yield pid
