"""Size and modes of a terminal, for `sandrun.proxy`. LIGHT. See termios(3), ioctl_tty(2)."""

from __future__ import annotations

import fcntl
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def copy_size(source: int, target: int) -> None:
    """Give `target` the rows and columns of `source`; its foreground group gets SIGWINCH if they changed."""
    try:
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return  # a terminal that hung up has no size


def raw(attributes: list[Any]) -> list[Any]:
    """The attributes of raw mode, as cfmakeraw(3) makes them: every key comes as it is, at once."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = attributes
    iflag &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    cc = list(cc)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    return [iflag, oflag & ~termios.OPOST, cflag, lflag, ispeed, ospeed, cc]
