"""seccomp_unotify(2): a filter that hands connect(2) to another process, and what that process asks and answers.

LIGHT. The caller of a notified call waits until it is answered. Its id may be given to a stranger as soon as it dies, so
everything of it is opened first and then believed only if the notification is still there. Its memory and its
descriptors go on changing under it: what was decided about is what was copied, once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct

from sandrun import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

ALLOW, USER_NOTIF = 0x7FFF0000, 0x7FC00000
LISTENER_FLAG = libc.SECCOMP_FILTER_FLAG_NEW_LISTENER
MOST_ADDRESS = 128
"""sizeof(struct sockaddr_storage): the kernel takes no longer address."""

# linux/seccomp.h. The requests carry the sizes of their structs, so a kernel with other structs has other requests.
_RECV, _SEND, _ID_VALID, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
_FLAG_CONTINUE, _FD_SYNC_WAKE_UP = 1, 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_AUDIT_ARCH = {"x86_64": (0xC000003E, 42), "aarch64": (0xC00000B7, 203)}
"""By machine: AUDIT_ARCH_* and the number of connect(2)."""
_PIDFD_THREAD = os.O_EXCL
"""pidfd_open(2): of a thread; Linux 6.9."""
_LAST_ADDRESS = 2**63 - 1
_AF_UNIX, _AF_INET, _SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_CLOEXEC = 1, 2, 1, 5, 0o2000000
_TRIAL_MS = 5000
_TRIAL_ERRNO = errno.EXFULL
"""An answer that no connect(2) gives by itself."""


def connect_filter(machine: str) -> bytes:
    """The program that hands connect(2) over and allows all else; the other programs of a launch kill foreign calls.

    Raises KeyError for an unknown machine.
    """
    arch, connect = _AUDIT_ARCH[machine]
    load, jump, give = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    program = ((load, 0, 0, 4), (jump, 0, 3, arch), (load, 0, 0, 0), (jump, 0, 1, connect))
    ends = ((give, 0, 0, USER_NOTIF), (give, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in (*program, *ends))


def receive(listener: int) -> tuple[int, int, tuple[int, ...]] | None:
    """The next call: its notification's id, the caller's thread id, 0 if it is not in our pid namespace or below, and
    the arguments. None if the caller has given up. Only where poll(2) says that there is one, else it waits."""
    call = receive_call(listener)
    return (call[0], call[1], call[3]) if call else None


def receive_call(listener: int) -> tuple[int, int, int, tuple[int, ...]] | None:
    """As `receive`, with the number of the syscall before the arguments."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECV, buffer)
    except (FileNotFoundError, InterruptedError):
        return None
    number, tid, _, syscall, _, _, *arguments = _NOTIFICATION.unpack(buffer)
    return number, tid, syscall & 0xFFFFFFFF, tuple(arguments)


def wake_at_once(listener: int) -> None:
    """Have the caller run on the same processor as soon as it is answered, which is faster (Linux 6.6)."""
    try:
        fcntl.ioctl(listener, _SET_FLAGS, _FD_SYNC_WAKE_UP)
    except OSError:
        return  # an older kernel


def is_waiting(listener: int, number: int) -> bool:
    """Whether the caller still waits for the answer to this notification."""
    try:
        fcntl.ioctl(listener, _ID_VALID, struct.pack("=Q", number))
    except FileNotFoundError:
        return False
    return True


def answer(listener: int, number: int, error: int) -> bool:
    """Let the call return: 0, or with this errno. Whether the caller was still there to hear it."""
    try:
        fcntl.ioctl(listener, _SEND, _RESPONSE.pack(number, 0, -error, 0))
    except (FileNotFoundError, BlockingIOError):
        return False  # it gave up; or another answer is under way to it (EINPROGRESS)
    return True


def resume(listener: int, number: int) -> bool:
    """Let the call go on as if it had not been notified of. Whether the caller was still there.

    Its memory may be another by now, so this is no way to allow anything (seccomp_unotify(2)).
    """
    try:
        fcntl.ioctl(listener, _SEND, _RESPONSE.pack(number, 0, 0, _FLAG_CONTINUE))
    except FileNotFoundError:
        return False
    return True


class Caller:
    """The thread that waits for an answer: its memory and its descriptors, for one `with` statement.

    Made for a notification that is received. Raises OSError, ProcessLookupError if the caller has given up.
    """

    __slots__ = ("_memory", "_pidfd")

    def __init__(self, listener: int, number: int, tid: int) -> None:
        # Not process_vm_readv(2), which a userfaultfd of the caller could hold up for ever.
        self._memory = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._pidfd = _pidfd_of(tid)
        except OSError:
            os.close(self._memory)
            raise
        if not is_waiting(listener, number):
            self.close()
            raise ProcessLookupError(errno.ESRCH, "gave up")

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._memory)
        os.close(self._pidfd)

    def read(self, address: int, length: int) -> bytes:
        """A copy of its memory. Raises OSError EFAULT if it is not all there."""
        try:
            data = os.pread(self._memory, length, address) if address <= _LAST_ADDRESS - length else b""
        except OSError:
            data = b""
        if len(data) != length:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data

    def descriptor(self, fd: int) -> int:
        """A copy of its descriptor: the same open file, whatever the caller does with the number from now on."""
        return libc.pidfd_getfd(self._pidfd, fd)


def _pidfd_of(tid: int) -> int:
    """A pidfd of the thread, or of its process on a kernel that has none of threads."""
    try:
        return os.pidfd_open(tid, _PIDFD_THREAD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    fd = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.read(fd, 4096)
    finally:
        os.close(fd)
    return os.pidfd_open(int(status.partition(b"\nTgid:")[2].split(None, 1)[0]))


def attempt(machine: str) -> str:
    """Whether this process can answer for a child of its own, found by doing it once; "", or why not.

    It takes a fork, and this process must be one that may read its own /proc. Raises OSError if nothing can be forked.
    """
    if machine not in _AUDIT_ARCH:
        return f"sandrun does not know the calls of {machine}"
    program = libc.SockFprog(connect_filter(machine))
    ours, theirs = libc.socketpair(_AF_UNIX, _SOCK_SEQPACKET | _SOCK_CLOEXEC)
    try:
        pid = os.fork()
        if not pid:
            _be_caller(program, theirs)
        os.close(theirs)
        theirs = -1
        try:
            return _answer_trial(ours)
        except OSError as error:
            return libc.strerror(error.errno or 0)
        finally:
            os.kill(pid, libc.SIGKILL)
            os.waitpid(pid, 0)
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def _be_caller(program: libc.SockFprog, channel: int) -> NoReturn:
    """The child of a trial: say what went wrong, or hand over the listener and report what connect(2) answered."""
    try:
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        listener = libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, LISTENER_FLAG, program)
        libc.send_fd(channel, b"l", listener)
        os.close(listener)
        libc.connect(libc.socket(_AF_INET, _SOCK_STREAM | _SOCK_CLOEXEC), struct.pack("=H14x", _AF_INET))
    except OSError as error:
        os.write(channel, struct.pack("=i", error.errno or 0))
    finally:
        os._exit(0)


def _answer_trial(channel: int) -> str:
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.poll(_TRIAL_MS)
    try:
        listener = libc.receive_fd(channel)
    except ConnectionError:
        # The message without a descriptor is gone: what it said is that the filter was not taken.
        return "another process watches the calls of this one already, or an outer sandbox refuses it"
    try:
        watch = select.poll()
        watch.register(listener, select.POLLIN)
        if not watch.poll(_TRIAL_MS):
            return "no call arrived"
        call = receive(listener)
        if call is None:
            return "the call was given up"
        number, tid, arguments = call
        with Caller(listener, number, tid) as caller:
            caller.read(arguments[1], 16)
            os.close(caller.descriptor(arguments[0] & 0xFFFFFFFF))
        answer(listener, number, _TRIAL_ERRNO)
    finally:
        os.close(listener)
    poll.poll(_TRIAL_MS)
    heard = os.read(channel, 4)
    return "" if heard == struct.pack("=i", _TRIAL_ERRNO) else "the answer did not arrive"
