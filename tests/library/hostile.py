"""Functions that attack the caller of `sandrun.call` from within the worker, with all that the worker has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import socket
import stat
import sys
import threading
import time

from sandrun.library import wire


def channel() -> int:
    """The worker's end of the socket."""
    for fd in range(3, 100):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                return fd
        except OSError:
            continue
    raise LookupError("no channel")


def tell(data: bytes) -> None:
    """Write to the caller what no honest worker does, and leave as one does; the caller may hear enough before all of it."""
    view = memoryview(data)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while view:
            view = view[os.write(channel(), view) :]
    os._exit(0)


class Touch:
    """A pickle that makes a file wherever it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def malicious_pickle(path):
    tell(wire.frame(wire.PICKLED, pickle.dumps(Touch(path))))


def pickle_as_value(path):
    tell(wire.frame(wire.VALUE, pickle.dumps(Touch(path))))


def named_exception(name, *args):
    tell(wire.frame(wire.RAISED, wire.encode(("builtins", name, args, "text", "trace"))))


def exception_of(module, name):
    tell(wire.frame(wire.RAISED, wire.encode((module, name, (), "text", "trace"))))


def half():
    tell(wire.frame(wire.VALUE, wire.encode("x" * 1000))[:500])


def half_and_wait():
    os.write(channel(), wire.frame(wire.VALUE, b"x" * 1000)[:500])
    time.sleep(1000)


def junk():
    tell(os.urandom(1 << 20))


def huge():
    tell(wire.HEADER.pack(wire.MAGIC, wire.VALUE, 1 << 60))


def twice():
    tell(wire.frame(wire.VALUE, wire.encode(1)) + wire.frame(wire.VALUE, wire.encode(2)))


def greeting_again():
    tell(wire.frame(wire.HELLO, b""))


def flood():
    """Never stops writing, after a result that would be one."""
    os.write(channel(), wire.frame(wire.VALUE, wire.encode(1)))
    while True:
        os.write(channel(), b"\0" * 65536)


def flood_of_value():
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        os.write(channel(), wire.HEADER.pack(wire.MAGIC, wire.VALUE, 1 << 40))
        while True:
            os.write(channel(), b"\0" * 65536)
    os._exit(0)


def close_and_wait():
    os.close(channel())
    time.sleep(1000)


def shut_and_wait():
    with socket.socket(fileno=os.dup(channel())) as end:
        end.shutdown(socket.SHUT_RDWR)
    time.sleep(1000)


def tell_and_stay():
    os.write(channel(), wire.frame(wire.VALUE, wire.encode(1)))
    time.sleep(1000)


def tell_and_fail():
    os.write(channel(), wire.frame(wire.VALUE, wire.encode(1)))
    os._exit(7)


def leave(status):
    os._exit(status)


def die(number):
    os.kill(os.getpid(), number)


def crash():
    ctypes.string_at(0)


def hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1000)


def _linger(path):
    """A process of its own session that holds the channel and everything else, and says that it is there."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(path, "w") as file:
            file.write("here")
        while True:
            time.sleep(1000)
    while not os.path.exists(path):
        time.sleep(0.01)


def linger_and_leave(path):
    _linger(path)
    os._exit(0)


def linger_and_return(path):
    if os.fork() == 0:
        time.sleep(1000)
    return "a result"


def linger_apart_and_return(path):
    _linger(path)
    return "a result"


def descriptors():
    """Hands descriptors over with a result."""
    with socket.socket(fileno=os.dup(channel())) as end:
        for _ in range(3):
            socket.send_fds(end, [wire.frame(wire.VALUE, wire.encode("x"))[:1]], [2] * 50)
    os._exit(0)


def urgent():
    """Bytes out of band, which make the socket readable without data."""
    with socket.socket(fileno=os.dup(channel())) as end:
        end.send(b"!", socket.MSG_OOB)
    time.sleep(2)
    return "fine"


def bad_value(body):
    tell(wire.frame(wire.VALUE, body))


def deaf():
    """Reads no further job."""
    time.sleep(1000)


def refuse(*told):
    tell(wire.frame(wire.REFUSED, wire.encode(told)))


def peer():
    """What the worker learns of the other end, and can do to it."""
    with socket.socket(fileno=os.dup(channel())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    return sys.platform


def _later(act):
    def wait():
        time.sleep(0.3)
        act()

    threading.Thread(target=wait, daemon=True).start()
    return 1


def leave_later():
    return _later(lambda: os._exit(3))


def tell_later():
    """An answer to the next job, before it is known."""
    return _later(lambda: os.write(channel(), wire.frame(wire.VALUE, wire.encode("mine"))))
