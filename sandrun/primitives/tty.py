"""The terminal: who has it. Its size and modes are in `modes`; what stands between two terminals is `sandrun.proxy`.

LIGHT. See credentials(7) for sessions and process groups, termios(3), ioctl_tty(2). Callers block all signals: to set
something of a terminal stops a process in the background unless SIGTTOU is blocked.
"""

from __future__ import annotations

import os


def controlling() -> int:
    """Which of descriptors 0 to 2 is the controlling terminal of this process, or -1."""
    for fd in range(3):
        if is_controlling(fd):
            return fd
    return -1


def is_controlling(fd: int) -> bool:
    """Whether a descriptor is the controlling terminal of this process."""
    try:
        return os.tcgetpgrp(fd) >= 0
    except OSError:
        return False


def set_foreground(terminal: int, group: int) -> int:
    """Make `group` the foreground process group; the one before, or 0 if that could not be done."""
    try:
        before = os.tcgetpgrp(terminal)
        os.tcsetpgrp(terminal, group)
    except OSError:
        return 0
    return before


def give_back(terminal: int) -> None:
    """If the terminal's foreground group has no process any more, be it: a shell script goes on reading after us."""
    try:
        foreground = os.tcgetpgrp(terminal)
        if foreground > 0:
            os.killpg(foreground, 0)
    except ProcessLookupError:
        set_foreground(terminal, os.getpgrp())
    except OSError:
        return


def resume_output(fd: int) -> None:
    """Undo tcflow(TCOOFF), after which every writer to the terminal waits, our own messages too; no key ends that."""
    if fd >= 0 and os.isatty(fd):
        import termios  # noqa: PLC0415 (few launches have a terminal)

        try:
            termios.tcflow(fd, termios.TCOON)
        except termios.error:
            return  # a terminal that hung up has no output
