"""connector: connect for the command, where the network cannot be a namespace of its own.

LIGHT. The command's filter hands each connect(2) to the supervisor, which alone is in a position to look at any process
of the command: it is an ancestor of them all (ptrace(2), Yama). It copies the address once, compares it with the grants,
takes a copy of the very socket, and has a worker, a child of its own, connect that socket to the address as copied. So
nothing that the command changes meanwhile counts, and options, copies and epoll registrations of its socket stay as they
are. The command's own Landlock domain lets no TCP connection out.

The supervisor never waits: not in connect(2), and not in close(2) of a socket that lingers, since a worker has a copy as
well until the supervisor has let go of its own. If it dies, its workers die with it, and connect(2) answers ENOSYS from
then on.
"""

from __future__ import annotations

import errno
import os
import select
import struct

from sandrun import libc
from sandrun.primitives import notify, sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from sandrun.plan.format import Plan

MOST_WORKERS = 64
"""Connections being made at once; beyond, further callers wait."""
MOST_REFUSED = 1000
"""As in `egress.record`: different refusals that are listed."""
_AT_ONCE = 8
"""Calls dealt with before signals and the deadline are looked at again."""
_MOST_INTERRUPTED = 256

_AF_UNIX = 1
_SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_CLOEXEC = 1, 5, 0o2000000
_SOL_SOCKET, _SO_TYPE, _SO_PROTOCOL, _SO_DOMAIN = 1, 3, 38, 39
_IPPROTO_TCP = 6
_RESULT = struct.Struct("=i")
"""From a worker: the errno, before it answers; then whether it was heard."""
_HEARD, _UNHEARD = b"h", b"u"
_UNDER_WAY = (0, errno.EINPROGRESS)
_AGAIN = {errno.EISCONN: 0, errno.EALREADY: errno.EINPROGRESS}
_REPEATED = (errno.EALREADY, errno.EISCONN)
"""A call about a connection that is counted already."""
_LAST_FD = 2**32 - 1


class _Worker:
    """A child that connects one socket, for the thread `tid`, to the address `given`."""

    __slots__ = ("channel", "endpoint", "given", "number", "pidfd", "tid")

    def __init__(self, number: int, tid: int, given: bytes, endpoint: str) -> None:
        self.channel = self.pidfd = -1
        self.number = number
        self.tid = tid
        self.given = given
        self.endpoint = endpoint


class Broker:
    """Of one run. `channel` is what the child sends the listener over; `poll` is readable when there is work to `serve`."""

    place = 0
    """As of an observer: every call but connect(2) goes unseen, wherever it comes from."""

    __slots__ = (
        "_calls",
        "_deny",
        "_interrupted",
        "_is_over",
        "_listener",
        "_listens",
        "_ours",
        "_record",
        "_rules",
        "_workers",
        "channel",
        "poll",
    )

    def __init__(self, plan: Plan, *, verbose: bool = False) -> None:
        self._ours, self.channel = libc.socketpair(_AF_UNIX, _SOCK_SEQPACKET | _SOCK_CLOEXEC)
        self._rules, self._deny = plan.broker_rules, plan.broker_deny
        self._record = _Record(verbose=verbose)
        self._listener, self._listens, self._is_over = -1, False, False
        self._calls = select.poll()
        self._workers: dict[int, _Worker] = {}
        self._interrupted: set[tuple[int, bytes]] = set()
        self.poll = select.epoll()

    def handed_over(self) -> None:
        """The child has its copy of the channel: let go of this one."""
        if self.channel >= 0:
            os.close(self.channel)
            self.channel = -1

    def begin(self) -> None:
        """Take the listener, which the child has sent before it executed the command. Raises OSError."""
        self._listener = libc.receive_fd(self._ours)
        self._calls.register(self._listener, select.POLLIN)
        self._listen(on=True)

    def is_busy(self) -> bool:
        """Whether there is something to look after now and then: `sweep`."""
        return bool(self._workers)

    def serve(self) -> None:
        """Deal with what is there, some of it: what workers say, and calls. Waits for nothing."""
        for fd, event in self.poll.poll(0):
            if fd != self._listener:
                self._collect(self._workers[fd])
            elif not event & select.EPOLLIN:
                self._listen(on=False)
                self._is_over = True  # nobody is left who could call
        for _ in range(_AT_ONCE):
            if not self._listens or not any(event & select.POLLIN for _, event in self._calls.poll(0)):
                break
            call = notify.receive(self._listener)
            if call is not None:
                self._decide(*call)
        self.sweep()

    def sweep(self) -> None:
        """End the workers whose callers have given up; then the kernel goes on, as after any interrupted connect(2)."""
        for worker in tuple(self._workers.values()):
            if not notify.is_waiting(self._listener, worker.number):
                self._end(worker)

    def end(self) -> bytes:
        """End all workers, refuse all calls from now on, and return the record: JSON text as the relay's."""
        self.handed_over()
        for worker in tuple(self._workers.values()):
            self._end(worker)
        self.poll.close()
        for fd in (self._ours, *((self._listener,) if self._listener >= 0 else ())):
            os.close(fd)
        return self._record.text()

    def _listen(self, *, on: bool) -> None:
        """Whether calls are taken. While they are not, their callers wait."""
        if on and not self._listens and not self._is_over:
            self.poll.register(self._listener, select.EPOLLIN)
            self._listens = True
        elif not on and self._listens:
            self.poll.unregister(self._listener)
            self._listens = False

    def _decide(self, number: int, tid: int, arguments: tuple[int, ...]) -> None:
        """Answer one call, or start a worker that will."""
        for worker in tuple(self._workers.values()):
            if worker.tid == tid:
                self._end(worker)  # a thread calls once at a time: a signal interrupted that call
        try:
            if arguments[2] & 0xFFFFFFFF > notify.MOST_ADDRESS:
                raise OSError(errno.EINVAL, "longer than any address")
            with self._caller(number, tid) as caller:
                self._serve_call(caller, number, tid, arguments)
        except OSError as error:
            notify.answer(self._listener, number, error.errno or errno.EACCES)

    def _caller(self, number: int, tid: int) -> notify.Caller:
        """Raises OSError; EACCES for a process that nobody may look into (PR_SET_DUMPABLE of prctl(2))."""
        try:
            if tid:
                return notify.Caller(self._listener, number, tid)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
        self._record.refused("of a process that cannot be looked into", "not dumpable")
        raise PermissionError(errno.EACCES, "not dumpable")

    def _serve_call(self, caller: notify.Caller, number: int, tid: int, arguments: tuple[int, ...]) -> None:
        fd, pointer, length = arguments[0] & 0xFFFFFFFF, arguments[1], arguments[2] & 0xFFFFFFFF
        given = caller.read(pointer, length)
        address, endpoint = self._judge(given)
        worker = _Worker(number, tid, given, endpoint)
        is_again = (tid, given) in self._interrupted
        self._interrupted.discard((tid, given))
        self._fork(worker, address, is_again=is_again)
        try:
            socket = caller.descriptor(fd)
            try:
                libc.send_fd(worker.channel, b"s", socket)
            except OSError:
                _disconnect(socket)
                raise
            finally:
                os.close(socket)
        except OSError as error:
            self._end(worker, error.errno or errno.EACCES)

    def _judge(self, given: bytes) -> tuple[bytes, str]:
        """The address to connect to and the grant that allows it, "" where it takes none. Raises OSError."""
        address, host, port = sockaddr.parse(given)
        if not host:
            return address, ""
        denial = sockaddr.find(self._deny, host, port)
        grant = sockaddr.find(self._rules, host, port)
        if denial or not grant:
            self._record.refused(sockaddr.place(host, port), f"denied by {denial}" if denial else "not granted")
            raise PermissionError(errno.EACCES, "not granted")
        return address, grant

    # --- workers ---

    def _fork(self, worker: _Worker, address: bytes, *, is_again: bool) -> None:
        """Start a worker, which waits for its socket. Sent there before it is closed here, the copy here is not the last.

        `is_again`: the caller was interrupted before it heard the answer to the same call. Raises OSError, EAGAIN if
        there can be no more processes.
        """
        worker.channel, theirs = libc.socketpair(_AF_UNIX, _SOCK_SEQPACKET | _SOCK_CLOEXEC)
        supervisor = os.getpid()
        try:
            pid = os.fork()
            if not pid:
                _work(supervisor, self._listener, worker.number, address, theirs, is_again=is_again)
            worker.pidfd = os.pidfd_open(pid)
        except OSError:
            os.close(worker.channel)
            raise
        finally:
            os.close(theirs)
        self._workers[worker.channel] = worker
        self.poll.register(worker.channel, select.EPOLLIN)
        if len(self._workers) >= MOST_WORKERS:
            self._listen(on=False)

    def _collect(self, worker: _Worker, silent: int = errno.ECONNABORTED) -> None:
        """Hear what a worker has to say, and let go of it: it has ended, or is about to. `silent`: the errno for its
        caller if it was killed before it could say anything."""
        said = _heard(worker.channel)
        if said:
            (error,) = _RESULT.unpack(said)
            if worker.endpoint:
                self._record.connected(worker.endpoint, error)
            is_heard = _heard(worker.channel) == _HEARD
        else:
            is_heard = notify.answer(self._listener, worker.number, silent)
        if not is_heard:
            if len(self._interrupted) >= _MOST_INTERRUPTED:
                self._interrupted.clear()
            self._interrupted.add((worker.tid, worker.given))
        self.poll.unregister(worker.channel)
        del self._workers[worker.channel]
        os.close(worker.channel)
        _reap(worker.pidfd)
        os.close(worker.pidfd)
        self._listen(on=True)

    def _end(self, worker: _Worker, silent: int = errno.ECONNABORTED) -> None:
        if not _is_ready(worker.channel, select.POLLIN):
            _kill(worker.pidfd)  # it is still connecting
        self._collect(worker, silent)


def _is_ready(fd: int, event: int) -> bool:
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(0))


def _heard(channel: int) -> bytes:
    try:
        return os.read(channel, _RESULT.size)
    except ConnectionResetError:
        return b""  # it ended before it took its socket


def _kill(pidfd: int) -> None:
    try:
        libc.pidfd_send_signal(pidfd, libc.SIGKILL)
    except ProcessLookupError:
        return  # it is reaped, by whoever waits for any child


def _reap(pidfd: int) -> None:
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ChildProcessError:
        return  # it is reaped


def start(plan: Plan, *, verbose: bool = False) -> Broker | None:
    """The broker that the plan asks for, if it does. Raises OSError."""
    return Broker(plan, verbose=verbose) if plan.broker_filter else None


def _work(supervisor: int, listener: int, number: int, address: bytes, channel: int, *, is_again: bool) -> NoReturn:
    """Connect the socket that arrives, answer the call, tell the supervisor. One that is gone may have sent it before."""
    try:
        libc.die_with(supervisor)
        first = 0
        for kept in sorted((listener, channel)):
            if kept > first:
                libc.close_range(first, kept - 1)
            first = kept + 1
        libc.close_range(first, _LAST_FD)
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        poll.poll()
        error = _connect(libc.receive_fd(channel), address)
        if is_again:
            error = _AGAIN.get(error, error)  # what was under way came of the call that was interrupted
        os.write(channel, _RESULT.pack(error))
        os.write(channel, _HEARD if notify.answer(listener, number, error) else _UNHEARD)
        # Until the supervisor closes its end, and so has closed its copy: the last one must be ours, for a process that
        # exits does not linger (socket(7), SO_LINGER), whatever the command does with its own meanwhile.
        poll.poll()
    finally:
        os._exit(0)


def _disconnect(socket: int) -> None:
    """End what is connected: no worker took a copy, and close(2) of the last one would wait for what is still unsent.

    The command can bring this about: files that its user has in flight are limited (unix(7), ETOOMANYREFS).
    """
    try:
        if libc.getsockopt(socket, _SOL_SOCKET, _SO_DOMAIN) in (sockaddr.AF_INET, sockaddr.AF_INET6):
            libc.connect(socket, sockaddr.DISCONNECT)
    except OSError:
        return  # no socket, or none that lingers


def _connect(socket: int, address: bytes) -> int:
    """The errno of connect(2), EACCES for all but a plain TCP socket: others read the address in their own way."""
    try:
        if libc.getsockopt(socket, _SOL_SOCKET, _SO_DOMAIN) not in (sockaddr.AF_INET, sockaddr.AF_INET6):
            return errno.EACCES
        if libc.getsockopt(socket, _SOL_SOCKET, _SO_TYPE) != _SOCK_STREAM:
            return errno.EACCES
        if libc.getsockopt(socket, _SOL_SOCKET, _SO_PROTOCOL) != _IPPROTO_TCP:
            return errno.EACCES
        libc.connect(socket, address)
    except OSError as error:
        return error.errno or errno.EACCES
    return 0


class _Record:
    """What was connected to and what was refused, as `egress.record` has it; the bytes are not known here."""

    __slots__ = ("_endpoints", "_others", "_refused", "_verbose")

    def __init__(self, *, verbose: bool) -> None:
        self._endpoints: dict[str, tuple[int, int, str]] = {}
        self._refused: dict[tuple[str, str], int] = {}
        self._others = 0
        self._verbose = verbose

    def connected(self, endpoint: str, error: int) -> None:
        """A connection that was granted was asked for, with this outcome."""
        if error in _REPEATED:
            return
        made, failed, why = self._endpoints.get(endpoint, (0, 0, ""))
        if error not in _UNDER_WAY:
            failed, why = failed + 1, os.strerror(error)
        self._endpoints[endpoint] = made + 1, failed, why

    def refused(self, target: str, reason: str) -> None:
        row = target, reason
        if row in self._refused:
            self._refused[row] += 1
        elif len(self._refused) < MOST_REFUSED:
            self._refused[row] = 1
            if self._verbose:
                _say(f"sandrun: refused: connect {target} ({reason})\n")
        else:
            self._others += 1

    def text(self) -> bytes:
        """JSON, made by hand: its texts are of plain ASCII, from the plan or made here."""
        endpoints = (
            f'{{"endpoint":"{name}","connections":{made},"failed":{failed},"error":"{why}","sent":null,"received":null}}'
            for name, (made, failed, why) in sorted(self._endpoints.items(), key=lambda item: -item[1][0])
        )
        refused = (
            f'{{"what":"connect","target":"{target}","reason":"{reason}","count":{count}}}'
            for (target, reason), count in self._refused.items()
        )
        rows = f'"endpoints":[{",".join(endpoints)}],"refused":[{",".join(refused)}],"published":[]'
        return f'{{{rows},"others":{self._others}}}'.encode("ascii")


def _say(line: str) -> None:
    try:
        if _is_ready(2, select.POLLOUT):  # a caller that does not read must not hold up the deadline
            os.write(2, line.encode("ascii"))
    except OSError:
        return  # the caller has closed its side
