"""Put another text in the place of a profile's, whole or not at all, with its mode and owner."""

from __future__ import annotations

import os
import stat

from sandrun.errors import SandrunError
from sandrun.profile.source import read_text
from sandrun.report import reason


class Target:
    """A profile's file that is to be replaced. Of a symbolic link, it is what the link leads to."""

    def __init__(self, path: str, identity: tuple[int, int], text: str) -> None:
        """`identity` and `text` are what was read. Raises SandrunError if the file could not be replaced now."""
        self.path = os.path.realpath(path)
        self.identity = identity
        self.text = text
        try:
            fd, temporary = self._make()
            os.close(fd)
            os.unlink(temporary)
        except OSError as error:
            raise self._error(reason(error)) from None

    def _error(self, why: str) -> SandrunError:
        return SandrunError(f"cannot write the profile: {self.path}: {why}")

    def _make(self) -> tuple[int, str]:
        """A new file beside it, with its mode and owner: the descriptor and the name. Raises OSError."""
        folder, name = os.path.split(self.path)
        temporary = os.path.join(folder, f".{name}.{os.urandom(8).hex()}")
        status = os.stat(self.path)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, stat.S_IMODE(status.st_mode))
        except BaseException:
            os.close(fd)
            os.unlink(temporary)
            raise
        return fd, temporary

    def replace(self, text: str) -> None:
        """Replace the file. Raises SandrunError, also if somebody changed it meanwhile."""
        try:
            fd, temporary = self._make()
            try:
                with open(fd, "wb") as file:
                    file.write(text.encode())
                    file.flush()
                    os.fsync(fd)
                if read_text(self.path, self.path) != (self.text, self.identity):
                    raise self._error("it was changed meanwhile")
                os.rename(temporary, self.path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise self._error(reason(error)) from None
