"""RootedHost: a Host as a command sees it after chroot(2) into one of its directories, and what is mounted in there.

Every path means the one inside. Symbolic links are resolved here, a name at a time, because the machine's own
resolution would follow them out: an absolute one starts at the directory again, and `..` never leaves it.
"""

from __future__ import annotations

import posixpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandrun.host import Account, Host, Mount, Stat

MOST_LINKS = 40
"""As the kernel's MAXSYMLINKS (path_resolution(7))."""


class RootedHost:
    """The Host whose root is `top`, a canonical directory of `host`.

    `shown` are canonical paths of `host` by the canonical paths inside at which they will be mounted. `cwd` is the
    working directory, a canonical path inside. Accounts, environment and descriptors are those of `host`.
    """

    def __init__(self, host: Host, top: str, *, shown: Mapping[str, str] | None = None, cwd: str = "/") -> None:
        self.host = host
        self.top = top
        self.shown = dict(sorted((shown or {}).items(), key=lambda item: len(item[0]), reverse=True))
        self.cwd = cwd

    @property
    def bare(self) -> RootedHost:
        """What is in the directory before anything is mounted there."""
        return RootedHost(self.host, self.top, cwd=self.cwd)

    def outer(self, path: str) -> str:
        """The path of `host` that a canonical path inside is."""
        for at, source in self.shown.items():
            if _is_below(path, at):
                return _join(source, path[len(at) :])
        return _join(self.top, path)

    def inner(self, path: str) -> list[str]:
        """The paths inside that a canonical path of `host` is, by the names that nothing else is mounted over."""
        tops = (*self.shown.items(), ("/", self.top))
        names = [_join(at, path[len(source.rstrip("/")) :]) for at, source in tops if _is_below(path, source)]
        return [name for name in names if self.outer(name) == path]

    @property
    def environ(self) -> Mapping[str, str]:
        return self.host.environ

    @property
    def uid(self) -> int:
        return self.host.uid

    @property
    def gid(self) -> int:
        return self.host.gid

    def account(self, user: str | int) -> Account | None:
        return self.host.account(user)

    def group(self, group: str | int) -> int | None:
        return self.host.group(group)

    def groups_of(self, account: Account) -> tuple[int, ...]:
        return self.host.groups_of(account)

    def lstat(self, path: str) -> Stat | None:
        parent, name = posixpath.split(path.rstrip("/"))
        if name in ("", ".", ".."):
            return self.stat(path)
        folder = self._resolve(parent)
        return None if folder is None else self.host.lstat(self.outer(_join(folder, "/" + name)))

    def stat(self, path: str) -> Stat | None:
        real = self._resolve(path)
        return None if real is None else self.host.lstat(self.outer(real))

    def acl(self, path: str) -> bytes:
        real = self._resolve(path)
        return b"" if real is None else self.host.acl(self.outer(real))

    def readlink(self, path: str) -> str | None:
        parent, name = posixpath.split(path)
        folder = self._resolve(parent)
        return None if folder is None else self.host.readlink(self.outer(_join(folder, "/" + name)))

    def realpath(self, path: str) -> str:
        real = self._resolve(path)
        return posixpath.normpath(posixpath.join(self.cwd, path)) if real is None else real

    def listdir(self, path: str) -> list[str] | None:
        real = self._resolve(path)
        return None if real is None else self.host.listdir(self.outer(real))

    def modes(self, path: str) -> list[tuple[str, int]] | None:
        real = self._resolve(path)
        return None if real is None else self.host.modes(self.outer(real))

    def read(self, path: str, limit: int, offset: int = 0) -> bytes | None:
        real = self._resolve(path)
        return None if real is None else self.host.read(self.outer(real), limit, offset)

    def mounts(self) -> tuple[Mount, ...]:
        """Those that show in here: the one that the root lies in, those below it, and the same of what is shown."""
        found = []
        mounts = self.host.mounts()
        for at, source in (("/", self.top), *self.shown.items()):
            under = None
            for mount in mounts:
                if mount.point != source and _is_below(mount.point, source):
                    found.append(mount._replace(point=_join(at, mount.point[len(source.rstrip("/")) :])))
                elif _is_below(source, mount.point) and (under is None or len(mount.point) >= len(under.point)):
                    under = mount
            if under is not None:
                inside = source[len(under.point.rstrip("/")) :]
                found.append(under._replace(root=_join(under.root, inside), point=at))
        return tuple(found)

    def fd_stat(self, fd: int) -> tuple[Stat, int] | None:
        return self.host.fd_stat(fd)

    def fd_path(self, fd: int) -> str:
        return next(iter(self.inner(self.host.fd_path(fd))), "")

    def fd_device(self, fd: int) -> str:
        return next(iter(self.inner(self.host.fd_device(fd))), "")

    def fd_socket(self, fd: int) -> tuple[int, int] | None:
        return self.host.fd_socket(fd)

    def fd_unix_free(self, fd: int) -> bool:
        return self.host.fd_unix_free(fd)

    def launcher(self) -> tuple[str, ...]:
        return self.host.launcher()

    def rlimit(self, resource: int) -> tuple[int, int]:
        return self.host.rlimit(resource)

    def _resolve(self, path: str) -> str | None:
        """The canonical path inside, with what is absent taken at its word; None if links lead round in a circle."""

        def target(inside: str) -> str | None:
            return None if inside in self.shown else self.host.readlink(self.outer(inside))

        return canonical(posixpath.join(self.cwd, path), target)


def canonical(path: str, readlink: Callable[[str], str | None]) -> str | None:
    """Where an absolute path leads by the links of which `readlink` knows the target, with what is absent taken at its word.

    None if links lead round in a circle.
    """
    left = path.split("/")[::-1]
    done = "/"
    links = 0
    while left:
        name = left.pop()
        if name == "..":
            done = posixpath.dirname(done)
        if name in ("", ".", ".."):
            continue
        here = f"{done}/{name}" if done != "/" else f"/{name}"
        target = readlink(here)
        if target is None:
            done = here
            continue
        links += 1
        if links > MOST_LINKS:
            return None
        done = "/" if target.startswith("/") else done
        left += target.split("/")[::-1]
    return done


def links_on(path: str, readlink: Callable[[str], str | None]) -> list[str]:
    """The links on the way to an absolute path, those on the way of links too, each by its name without links above it."""
    found: list[str] = []

    def look(at: str) -> str | None:
        target = readlink(at)
        if target is not None:
            found.append(at)
        return target

    canonical(path, look)
    return found


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _join(directory: str, rest: str) -> str:
    """`rest` is empty or starts with a slash, and stays below."""
    return (directory.rstrip("/") + rest.rstrip("/")) or "/"
