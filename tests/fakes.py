"""A Host made of a dict, so that plans for other machines, users and mounts are made on this one.

    host = FakeHost({"/srv/site/index.html": file(b"hello"), "/srv/www": link("site")}, uid=1000, cwd="/srv/site")

Parents of what is named are directories of root, mode 0755. Permissions hold as for real: what `uid` may not read or
search answers None. `debian_host()` is a small Debian with an ordinary user, alice.
"""

from __future__ import annotations

import os
import posixpath
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

from sandrun.host import Account, Mount, Stat

if TYPE_CHECKING:
    from collections.abc import Mapping

INFINITY = 2**64 - 1
MAX_LINKS = 40


class Node(NamedTuple):
    """One name in the tree. `target` is a symbolic link's, `same_as` the path of another name of the same file."""

    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0
    target: str = ""
    same_as: str = ""


def file(data: bytes = b"", mode: int = 0o644, uid: int = 0, gid: int = 0) -> Node:
    return Node(stat.S_IFREG | mode, data, uid, gid)


def program(data: bytes = b"", mode: int = 0o755, uid: int = 0) -> Node:
    return Node(stat.S_IFREG | mode, data, uid, uid)


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Node:
    return Node(stat.S_IFDIR | mode, b"", uid, gid)


def link(target: str) -> Node:
    return Node(stat.S_IFLNK | 0o777, target=target)


def hard(path: str) -> Node:
    return Node(0, same_as=path)


def device(mode: int = 0o666) -> Node:
    return Node(stat.S_IFCHR | mode)


def socket(uid: int = 0) -> Node:
    return Node(stat.S_IFSOCK | 0o777, uid=uid)


class FakeHost:
    """The Host protocol over a tree.

    `filesystems` gives paths a device number of their own, `binds` shows one path at another.
    """

    def __init__(
        self,
        tree: Mapping[str, Node],
        *,
        uid: int = 0,
        gid: int | None = None,
        cwd: str = "/",
        environ: Mapping[str, str] | None = None,
        accounts: tuple[Account, ...] = (),
        groups: Mapping[str, int] | None = None,
        filesystems: Mapping[str, int] | None = None,
        binds: Mapping[str, str] | None = None,
        fds: Mapping[int, tuple[Stat, int, str]] | None = None,
        rlimits: Mapping[int, tuple[int, int]] | None = None,
        launcher: tuple[str, ...] = (),
    ) -> None:
        self.tree = {"/": directory(), **tree}
        for path in (*tree, *(binds or {})):
            parent = posixpath.dirname(path)
            while parent not in self.tree:
                self.tree[parent] = directory()
                parent = posixpath.dirname(parent)
        for path in binds or {}:
            self.tree.setdefault(path, directory())
        self.uid = uid
        self.gid = uid if gid is None else gid
        self.cwd = cwd
        self.environ = dict(environ or {})
        self.accounts = (Account("root", 0, 0, "/root", "/bin/bash"), *accounts)
        self.groups = dict(groups or {})
        self.filesystems = {"/": 1, **(filesystems or {})}
        self.binds = dict(binds or {})
        self.fds = dict(fds or {})
        self.sockets: dict[int, tuple[int, int]] = {}
        self.free_sockets: set[int] = set()
        self.rlimits = dict(rlimits or {})
        self.code = launcher
        self.acls: dict[str, bytes] = {}
        self.numbers = {path: number for number, path in enumerate(sorted(self.tree), start=2)}

    def account(self, user: str | int) -> Account | None:
        for entry in self.accounts:
            if user in (entry.name, entry.uid):
                return entry
        return Account("", user, user, "", "") if isinstance(user, int) else None

    def group(self, group: str | int) -> int | None:
        if isinstance(group, int):
            return group
        names = {entry.name: entry.gid for entry in self.accounts}
        return self.groups.get(group, names.get(group))

    def groups_of(self, account: Account) -> tuple[int, ...]:
        return (account.gid,)

    def lstat(self, path: str) -> Stat | None:
        parent, name = posixpath.split(path.rstrip("/") or "/")
        folder = self._walk(parent)
        if folder is None or not self._may(folder, 1):
            return None
        found = posixpath.join(folder, name) if name not in ("", ".") else folder
        if name == "..":
            found = posixpath.dirname(folder)
        found = self._bound(found)
        return self._stat(found) if found in self.tree else None

    def stat(self, path: str) -> Stat | None:
        found = self._walk(path)
        return None if found is None else self._stat(found)

    def acl(self, path: str) -> bytes:
        return self.acls.get(path, b"")

    def readlink(self, path: str) -> str | None:
        parent, name = posixpath.split(path)
        folder = self._walk(parent)
        node = self.tree.get(self._bound(posixpath.join(folder, name))) if folder is not None else None
        return node.target or None if node else None

    def realpath(self, path: str) -> str:
        return self._resolve(posixpath.join(self.cwd, path))

    def listdir(self, path: str) -> list[str] | None:
        found = self._walk(path)
        if found is None or not stat.S_ISDIR(self.tree[found].mode) or not self._may(found, 4):
            return None
        start = found.rstrip("/") + "/"
        return sorted({name[len(start) :].partition("/")[0] for name in self.tree if name.startswith(start)} - {""})

    def modes(self, path: str) -> list[tuple[str, int]] | None:
        names = self.listdir(path)
        if names is None:
            return None
        found = [(name, self.lstat(f"{path.rstrip('/')}/{name}")) for name in names]
        return [(name, entry.mode if entry else 0) for name, entry in found]

    def read(self, path: str, limit: int, offset: int = 0) -> bytes | None:
        found = self._walk(path)
        if found is None or not self._may(found, 4):
            return None
        node = self._node(found)
        return node.data[offset : offset + limit] if stat.S_ISREG(node.mode) else None

    def mounts(self) -> tuple[Mount, ...]:
        own = [Mount(dev, "/", point, "ext4") for point, dev in self.filesystems.items()]
        shown = []
        for point, source in self.binds.items():
            top = self._filesystem(source)
            inside = "/" + posixpath.relpath(source, top) if source != top else "/"
            shown.append(Mount(self.filesystems[top], inside, point, "ext4"))
        return (*own, *shown)

    def fd_stat(self, fd: int) -> tuple[Stat, int] | None:
        return self.fds[fd][:2] if fd in self.fds else None

    def fd_path(self, fd: int) -> str:
        return self.fds[fd][2] if fd in self.fds else ""

    def fd_device(self, fd: int) -> str:
        return self.fds[fd][2] if fd in self.fds and stat.S_ISCHR(self.fds[fd][0].mode) else ""

    def fd_socket(self, fd: int) -> tuple[int, int] | None:
        return self.sockets.get(fd)

    def fd_unix_free(self, fd: int) -> bool:
        return fd in self.free_sockets

    def launcher(self) -> tuple[str, ...]:
        return self.code

    def rlimit(self, resource: int) -> tuple[int, int]:
        return self.rlimits.get(resource, (INFINITY, INFINITY))

    def _walk(self, path: str) -> str | None:
        """The name in the tree that a path leads to, if it exists and every directory may be searched."""
        if not path or "\0" in path:
            return None
        found = self._bound(self._resolve(posixpath.join(self.cwd, path)))
        if found not in self.tree or self.tree[found].target:
            return None
        above = posixpath.dirname(found)
        while not self._unsearchable(above):
            if above == "/":
                return found
            above = posixpath.dirname(above)
        return None

    def _unsearchable(self, folder: str) -> bool:
        return not stat.S_ISDIR(self.tree[folder].mode) or not self._may(folder, 1)

    def _resolve(self, path: str) -> str:
        """As os.path.realpath: links followed, what is absent taken at its word."""
        done = "/"
        left = [part for part in path.split("/") if part]
        links = 0
        while left:
            part = left.pop(0)
            if part == ".":
                continue
            if part == "..":
                done = posixpath.dirname(done)
                continue
            here = posixpath.join(done, part)
            node = self.tree.get(self._bound(here))
            if node is not None and node.target and links < MAX_LINKS:
                links += 1
                left = [step for step in node.target.split("/") if step] + left
                done = "/" if node.target.startswith("/") else done
            else:
                done = here
        return done

    def _bound(self, path: str) -> str:
        for point, source in self.binds.items():
            if path == point or path.startswith(point + "/"):
                return source + path[len(point) :]
        return path

    def _node(self, name: str) -> Node:
        node = self.tree[name]
        return self.tree[node.same_as] if node.same_as else node

    def _stat(self, name: str) -> Stat:
        node = self._node(name)
        first = self.tree[name].same_as or name
        names = 1 + sum(other.same_as == first for other in self.tree.values())
        dev = self.filesystems[self._filesystem(name)]
        return Stat(node.mode, dev, self.numbers[first], names, node.uid, node.gid)

    def _filesystem(self, path: str) -> str:
        return max((top for top in self.filesystems if (path + "/").startswith(top.rstrip("/") + "/")), key=len)

    def _may(self, name: str, bit: int) -> bool:
        node = self._node(name)
        if self.uid == 0:
            return True
        shift = 6 if node.uid == self.uid else 3 if node.gid == self.gid else 0
        return bool(node.mode >> shift & bit)


def elf(
    interpreter: str = "/lib64/ld-linux-x86-64.so.2",
    needed: tuple[str, ...] = ("libc.so.6",),
    runpath: str = "",
    *,
    wide: bool = True,
    order: str = "<",
    rpath: bool = False,
) -> bytes:
    """A small dynamic ELF file: one PT_LOAD over all of it at address 0x400000, PT_INTERP and PT_DYNAMIC."""
    base = 0x400000
    strings = b"\0"
    tags = []
    for tag, text in [(1, name) for name in needed] + [(15 if rpath else 29, runpath)] * bool(runpath):
        tags.append((tag, len(strings)))
        strings += os.fsencode(text) + b"\0"
    head, row, size = (64, 56, 16) if wide else (52, 32, 8)
    inter = os.fsencode(interpreter) + b"\0" if interpreter else b""
    count = 2 + bool(inter)
    at_inter = head + row * count
    at_strings = at_inter + len(inter)
    at_dynamic = at_strings + len(strings)
    tags += [(5, base + at_strings), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack(order + ("qQ" if wide else "iI"), *entry) for entry in tags)
    total = at_dynamic + len(dynamic)

    def segment(kind: int, offset: int, length: int) -> bytes:
        if wide:
            return struct.pack(order + "IIQQQQQQ", kind, 5, offset, base + offset, base + offset, length, length, 8)
        return struct.pack(order + "IIIIIIII", kind, offset, base + offset, base + offset, length, length, 5, 8)

    ident = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1)) + bytes(9)
    fields = (3, 62, 1, base, head, 0, 0, head, row, count, 0, 0, 0)
    header = ident + struct.pack(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"), *fields)
    segments = segment(1, 0, total) + (segment(3, at_inter, len(inter)) if inter else b"")
    segments += segment(2, at_dynamic, len(dynamic))
    assert len(dynamic) == len(tags) * size
    return header + segments + inter + strings + dynamic


ALICE = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
NOBODY = Account("nobody", 65534, 65534, "/nonexistent", "/usr/sbin/nologin")


def debian_tree() -> dict[str, Node]:
    """The tree of `debian_host`."""
    libraries = "/usr/lib/x86_64-linux-gnu"
    tree: dict[str, Node] = {f"/{name}": link(f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")}
    for name in ("bash", "cat", "dash", "env", "git", "node", "perl", "sort", "true"):
        tree[f"/usr/bin/{name}"] = program(elf())
    tree["/usr/bin/python3.11"] = program(elf(needed=("libm.so.6", "libc.so.6")))
    tree["/usr/bin/python3"] = link("python3.11")
    tree["/usr/bin/sh"] = link("dash")
    tree["/usr/bin/busybox"] = program(elf("", ()))
    tree["/usr/sbin/nginx"] = program(elf())
    tree["/usr/lib64/ld-linux-x86-64.so.2"] = link("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    for name in ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"):
        tree[f"{libraries}/{name}"] = program(elf("", ()))
    tree["/usr/lib/python3.11/os.py"] = file(b"import sys\n")
    tree["/usr/share/zoneinfo/Etc/UTC"] = file()
    tree["/usr/share/locale/locale.alias"] = file()
    for name in ("passwd", "group", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "ld.so.cache", "services"):
        tree[f"/etc/{name}"] = file(b"#\n")
    tree["/etc/resolv.conf"] = link("../run/systemd/resolve/stub-resolv.conf")
    tree["/run/systemd/resolve/stub-resolv.conf"] = file(b"nameserver 127.0.0.53\n")
    tree["/etc/localtime"] = link("/usr/share/zoneinfo/Etc/UTC")
    tree["/etc/shadow"] = file(b"root:!:1::::::\n", 0o640, gid=42)
    tree["/etc/ssl/certs/ca-certificates.crt"] = file(b"-----BEGIN CERTIFICATE-----\n")
    tree["/etc/ssl/openssl.cnf"] = file()
    tree["/etc/ssl/private"] = directory(0o710, gid=110)
    tree["/etc/ssl/private/server.key"] = file(b"key", 0o640, gid=110)
    tree["/etc/ssh/ssh_host_ed25519_key"] = file(b"key", 0o600)
    tree["/etc/ssh/ssh_config"] = file()
    for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "sda"):
        tree[f"/dev/{name}"] = device(0o660 if name == "sda" else 0o666)
    tree["/dev/pts/0"] = Node(stat.S_IFCHR | 0o620, uid=1000, gid=5)
    tree["/dev/shm"] = tree["/tmp"] = tree["/var/tmp"] = directory(0o1777)
    tree["/proc/1/cmdline"] = file()
    tree["/proc/self"] = link("1")
    tree["/sys/kernel"] = tree["/opt"] = tree["/srv"] = tree["/mnt"] = directory()
    tree["/root"] = directory(0o700)
    tree["/root/.ssh/id_rsa"] = file(b"key", 0o600)
    home = "/home/alice"
    tree[home] = directory(0o755, 1000, 1000)
    for name in ("project", "project/src", "project/.git", "project/.git/hooks", "Downloads"):
        tree[f"{home}/{name}"] = directory(0o755, 1000, 1000)
    tree[f"{home}/.ssh"] = directory(0o700, 1000, 1000)
    tree[f"{home}/.ssh/id_ed25519"] = file(b"key", 0o600, 1000, 1000)
    tree[f"{home}/.netrc"] = file(b"machine", 0o600, 1000, 1000)
    for name in ("Makefile", "src/main.c", ".env", ".git/config", ".git/hooks/pre-commit"):
        tree[f"{home}/project/{name}"] = file(b"#\n", 0o644, 1000, 1000)
    return tree


def debian_host(
    uid: int = 1000,
    *,
    cwd: str | None = None,
    environ: Mapping[str, str] | None = None,
    tree: Mapping[str, Node] | None = None,
    binds: Mapping[str, str] | None = None,
) -> FakeHost:
    """A small Debian 12: root, alice (1000, at home in /home/alice with a project), nobody.

    The caller stands in alice's project (root in /srv) with a plain environment; `tree` adds names or replaces them,
    `environ` adds variables.
    """
    home = {0: "/root", 1000: ALICE.home}.get(uid, "")
    names = {0: "root", 1000: "alice"}
    plain = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "USER": names.get(uid, ""), "LANG": "C.UTF-8"}
    plain = {name: value for name, value in plain.items() if value}
    return FakeHost(
        debian_tree() | dict(tree or {}),
        uid=uid,
        cwd=cwd or ("/home/alice/project" if uid == ALICE.uid else "/srv"),
        environ=plain | dict(environ or {}),
        accounts=(ALICE, NOBODY),
        groups={"tty": 5, "shadow": 42, "ssl-cert": 110},
        filesystems={"/proc": 20, "/sys": 21, "/dev": 22, "/run": 23},
        binds=binds,
        fds={
            fd: (Stat(stat.S_IFIFO | 0o600, 14, 100 + fd, 1, uid, uid), 1 if fd else 0, f"pipe:[{fd}]")
            for fd in (0, 1, 2)
        },
    )
