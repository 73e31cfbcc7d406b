"""proxy: the process between the caller's terminal and a pseudoterminal that is the command's own.

LIGHT. With a proxy there are three processes. The proxy is the one that the caller started and waits for: it copies
between the two terminals, stops and continues with the command, and ends with the supervisor's status. The supervisor
is its child and the leader of a new session, whose terminal is the pseudoterminal. The command is the supervisor's
child, in a process group of its own: job control works in there as in any terminal, because its parent is in the same
session and another group (credentials(7) calls a group without that orphaned, and Ctrl-Z does nothing in it).
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
import time

from sandrun import libc
from sandrun.errors import EXIT_SANDRUN
from sandrun.primitives import modes, tree, tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_TYPED = 0x80
"""What the proxy tells: 0 or 1 for the keyboard, or this with the number of a signal."""
_CHUNK = 4096
_LIMIT = 1 << 16
"""Bytes that wait for one side before nothing more is read from the other."""
_DRAIN_SECONDS = 0.2
"""How long the command's terminal must be silent at the end, if something still holds it open."""
_KILL_SECONDS = 10.0
_PASSED_ON = (
    libc.SIGHUP,
    libc.SIGINT,
    libc.SIGQUIT,
    libc.SIGUSR1,
    libc.SIGUSR2,
    libc.SIGTERM,
    libc.SIGTSTP,
    libc.SIGCONT,
)


class Link:
    """The supervisor's side of the two pipes to its proxy."""

    __slots__ = ("_from_proxy", "_has_keyboard", "_to_proxy", "_typed")

    def __init__(self, from_proxy: int, to_proxy: int, *, has_keyboard: bool) -> None:
        self._from_proxy, self._to_proxy, self._has_keyboard = from_proxy, to_proxy, has_keyboard
        self._typed: set[int] = set()

    def _listen(self) -> None:
        for news in _read(self._from_proxy) or b"":
            if news & _TYPED:
                self._typed.add(news & ~_TYPED)
            else:
                self._has_keyboard = bool(news)

    def has_keyboard(self) -> bool:
        """Whether what is typed on the caller's terminal comes to the command's now."""
        self._listen()
        return self._has_keyboard

    def was_typed(self, signal: int) -> bool:
        """Whether a signal that came from the proxy is one that the caller's terminal sent."""
        self._listen()
        was = signal in self._typed
        self._typed.discard(signal)
        return was

    def stop(self, signal: int) -> None:
        """Tell the proxy by which signal the command was stopped, and stop until the proxy says SIGCONT."""
        os.write(self._to_proxy, bytes((signal,)))
        os.kill(os.getpid(), libc.SIGSTOP)


def split(terminal: int) -> Link:
    """Put a pseudoterminal between `terminal` and the rest of this program. All signals must be blocked.

    Returns only in a new child: there, those of descriptors 0 to 2 that were the terminal are the pseudoterminal. The
    command has the keyboard from the start, except in the background and in `sandrun ... | less`: then only when it
    reads its terminal (the kernel stops it for that with SIGTTIN, as any program in the background).
    """
    ours = [fd for fd in range(3) if tty.is_controlling(fd)]
    has_keyboard = 1 in ours and os.tcgetpgrp(terminal) == os.getpgrp()
    master, slave = os.openpty()
    termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(terminal))
    modes.copy_size(terminal, slave)
    from_proxy, to_supervisor = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    from_supervisor, to_proxy = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    pid = os.getpid()
    supervisor = os.fork()
    if supervisor:
        _run(_Proxy(terminal, master, from_supervisor, to_supervisor, supervisor), has_keyboard=has_keyboard)
    try:
        libc.die_with(pid)
    except ProcessLookupError:
        os._exit(EXIT_SANDRUN)
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in ours:
        os.dup2(slave, fd)
    for fd in (master, slave, from_supervisor, to_supervisor):
        os.close(fd)
    return Link(from_proxy, to_proxy, has_keyboard=has_keyboard)


def _run(proxy: _Proxy, *, has_keyboard: bool) -> NoReturn:
    status = EXIT_SANDRUN
    try:
        if has_keyboard:
            proxy.take_terminal()
        status = proxy.until_the_end()
    finally:
        try:
            proxy.leave_terminal()
        finally:
            os._exit(status)


def _reopened(terminal: int) -> int:
    """The same terminal as an open file of our own, since O_NONBLOCK would hit all that share the caller's."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.dup(terminal)


class _Proxy:
    """The state of the proxy: two bytearrays on their way, and the attributes to put back."""

    __slots__ = (
        "attributes",
        "from_command",
        "from_keyboard",
        "from_supervisor",
        "has_terminal",
        "hung_up",
        "master",
        "signal_fd",
        "status",
        "supervisor",
        "terminal",
        "to_supervisor",
    )

    def __init__(self, terminal: int, master: int, from_supervisor: int, to_supervisor: int, supervisor: int) -> None:
        self.signal_fd = libc.signalfd4(-1, libc.ALL_SIGNALS, libc.SFD_NONBLOCK | libc.SFD_CLOEXEC)
        self.terminal = _reopened(terminal)
        os.set_blocking(master, False)
        self.master, self.supervisor = master, supervisor
        self.from_supervisor, self.to_supervisor = from_supervisor, to_supervisor
        self.attributes: list[Any] = []
        self.has_terminal = self.hung_up = False
        self.from_keyboard, self.from_command = bytearray(), bytearray()
        self.status: int | None = None
        # If the supervisor is killed, its tree becomes ours, and ends here.
        libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
        self._close_the_rest()

    def _close_the_rest(self) -> None:
        """Let go of the caller's pipes: whoever reads them waits for the command to close them, not for us."""
        kept = sorted((self.signal_fd, self.terminal, self.master, self.from_supervisor, self.to_supervisor))
        for low, high in zip((2, *kept), (*kept, 2**32 - 1), strict=True):
            if low + 1 < high:
                libc.close_range(low + 1, high - 1)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.close(null)

    # --- the caller's terminal ---

    def take_terminal(self) -> bool:
        """Switch to raw mode, if we are in the foreground: every key is the command's from now on. Whether it is."""
        try:
            if not self.has_terminal and os.tcgetpgrp(self.terminal) == os.getpgrp():
                self.attributes = termios.tcgetattr(self.terminal)
                termios.tcsetattr(self.terminal, termios.TCSADRAIN, modes.raw(self.attributes))
                self.has_terminal = True
                self._tell(1)
        except (OSError, termios.error):
            self.hung_up = True
        modes.copy_size(self.terminal, self.master)
        return self.has_terminal

    def leave_terminal(self) -> None:
        """Put the caller's settings back."""
        if self.has_terminal:
            self.has_terminal = False
            self._tell(0)
            try:
                termios.tcsetattr(self.terminal, termios.TCSADRAIN, self.attributes)
            except termios.error:
                self.hung_up = True

    def _tell(self, news: int) -> None:
        try:
            os.write(self.to_supervisor, bytes((news,)))
        except BrokenPipeError:
            return  # it has ended

    # --- the loop ---

    def until_the_end(self) -> int:
        """Copy until the supervisor has ended and all output is delivered. The exit status for the caller."""
        poll = select.poll()
        poll.register(self.signal_fd, select.POLLIN)
        while self.status is None:
            self._register(poll)
            for fd, events in poll.poll():
                if fd == self.terminal:
                    self._terminal_ready(events)
                elif fd == self.master:
                    self._master_ready(events)
            self._signals()
        tree.kill_tree(_KILL_SECONDS, self.signal_fd, scoped=False)
        self._drain()
        return self.status

    def _register(self, poll: select.poll) -> None:
        """Ask only for what we could act on, so that a full side holds the other one up and nothing spins."""
        terminal = select.POLLOUT if self.from_command else 0
        if self.has_terminal and len(self.from_keyboard) < _LIMIT:
            terminal |= select.POLLIN
        master = select.POLLOUT if self.from_keyboard else 0
        if len(self.from_command) < _LIMIT:
            master |= select.POLLIN
        for fd, events in ((self.terminal, 0 if self.hung_up else terminal), (self.master, master)):
            if events:
                poll.register(fd, events)
            else:
                _unregister(poll, fd)

    def _terminal_ready(self, events: int) -> None:
        if events & select.POLLIN:
            data = _read(self.terminal)
            self.from_keyboard += data or b""
            self.hung_up = data == b""
        elif events & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            self.hung_up = True
        if events & select.POLLOUT:
            self.hung_up |= not _write(self.terminal, self.from_command)
        if self.hung_up:
            self.from_command.clear()

    def _master_ready(self, events: int) -> None:
        if events & select.POLLOUT and not _write(self.master, self.from_keyboard):
            self.from_keyboard.clear()
        if events & (select.POLLIN | select.POLLHUP):
            data = _read(self.master)
            if data:
                self.from_command += b"" if self.hung_up else data
            elif data == b"" and self.status is None:
                time.sleep(0.01)  # nobody has the other side open: the command closed it, or is not there yet

    def _drain(self) -> None:
        """Deliver what the command wrote last."""
        poll = select.poll()
        end = time.monotonic() + _DRAIN_SECONDS
        while time.monotonic() < end and (data := _read(self.master)) != b"":
            if data:
                self.from_command += data
                end = time.monotonic() + _DRAIN_SECONDS
                self._flush()
            else:
                poll.register(self.master, select.POLLIN)
                poll.poll(_DRAIN_SECONDS * 1000)
        self._flush()

    def _flush(self) -> None:
        """Write all that waits for the terminal, unless a signal asks us to give up."""
        poll = select.poll()
        poll.register(self.terminal, select.POLLOUT)
        poll.register(self.signal_fd, select.POLLIN)
        while self.from_command and not self.hung_up:
            poll.poll()
            self.hung_up |= not _write(self.terminal, self.from_command)
            signals = libc.read_signals(self.signal_fd)
            if any(signal in (libc.SIGHUP, libc.SIGINT, libc.SIGTERM, libc.SIGQUIT) for signal, _, _ in signals):
                return

    # --- signals ---

    def _signals(self) -> None:
        for signal, code, _ in libc.read_signals(self.signal_fd):
            if signal == libc.SIGWINCH:
                modes.copy_size(self.terminal, self.master)
            elif signal == libc.SIGCHLD:
                self._look_at_supervisor()
            elif signal in _PASSED_ON:
                if signal == libc.SIGCONT:
                    self.take_terminal()
                if code == libc.SI_KERNEL:
                    self._tell(_TYPED | signal)
                self._send(signal)

    def _send(self, signal: int) -> None:
        if self.status is None:
            os.kill(self.supervisor, signal)

    def _look_at_supervisor(self) -> None:
        while self.status is None:
            pid, status = os.waitpid(self.supervisor, os.WNOHANG | os.WUNTRACED)
            if not pid:
                return
            if os.WIFSTOPPED(status):
                self._stop()
            else:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code

    def _stop(self) -> None:
        """The command stopped: it wants the keyboard, which it may have, or the caller's shell is to show a stop."""
        signal = (_read(self.from_supervisor) or bytes((libc.SIGTSTP,)))[-1]
        wants_keyboard = signal in (libc.SIGTTIN, libc.SIGTTOU) and not self.has_terminal
        if wants_keyboard and self.take_terminal():
            self._send(libc.SIGCONT)
            return
        while data := _read(self.master):
            self.from_command += data
        self._flush()
        self.leave_terminal()
        tree.stop_here(signal)
        self.take_terminal()
        signals = libc.read_signals(self.signal_fd)
        # If no shell could continue us, the kernel did not stop us at all, and the command goes on as well.
        self._send(libc.SIGCONT)
        for other, _, _ in signals:
            if other in _PASSED_ON and other != libc.SIGCONT:
                self._send(other)


def _unregister(poll: select.poll, fd: int) -> None:
    try:
        poll.unregister(fd)
    except KeyError:
        return


def _read(fd: int) -> bytes | None:
    """What can be read now; None if nothing can, b"" if nothing will be any more (a closed terminal gives EIO)."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise


def _write(fd: int, data: bytearray) -> bool:
    """Write what fits and take it off the front. False if the other side is gone."""
    try:
        del data[: os.write(fd, data[:_CHUNK])]
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in (errno.EIO, errno.EPIPE):
            return False
        raise
    return True
