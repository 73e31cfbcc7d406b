"""Which arguments of which system calls name files and addresses, and what is done to them. Data, and no more.

The names of arguments are those of the man pages. A call that is not here names nothing (it takes descriptors, which
were opened by one that is), or is not known to.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW = 0x100, 0x200, 0x400
NO_FLAGS = -1


class Name(NamedTuple):
    """One path among the arguments: where it stands, and relative to which descriptor; -1: the working directory.

    `follows`: whether the last component is followed if it is a symlink, unless the argument `flags` says otherwise.
    """

    path: int
    dir_fd: int = -1
    act: str = "look"
    follows: bool = True
    flags: int = NO_FLAGS


class Opening(NamedTuple):
    """open(2) and its kin: `path`, `dir_fd` as in Name; where the flags are, or which they always are."""

    path: int
    dir_fd: int = -1
    flags: int = NO_FLAGS
    fixed: int = 0
    is_how: bool = False
    """The flags are in a struct open_how (openat2(2))."""


class Moving(NamedTuple):
    """rename(2) and link(2): the old and the new name. A link follows its old name only if `flags` says so."""

    old: Name
    new: Name
    is_link: bool = False


class Meeting(NamedTuple):
    """A struct sockaddr and its length among the arguments; `is_message`: a struct msghdr holds both (sendmsg(2))."""

    act: str
    address: int
    length: int
    is_message: bool = False


Shape = Name | Opening | Moving | Meeting

_CREAT = 0o100 | 0o1000 | 0o1  # O_CREAT, O_TRUNC, O_WRONLY
_LOOKING = {
    "stat": Name(0),
    "lstat": Name(0, follows=False),
    "newfstatat": Name(1, 0, flags=3),
    "statx": Name(1, 0, flags=2),
    "access": Name(0),
    "faccessat": Name(1, 0),
    "faccessat2": Name(1, 0, flags=3),
    "readlink": Name(0, follows=False),
    "readlinkat": Name(1, 0, follows=False),
    "statfs": Name(0),
    "chdir": Name(0),
    "getxattr": Name(0),
    "lgetxattr": Name(0, follows=False),
    "listxattr": Name(0),
    "llistxattr": Name(0, follows=False),
    "inotify_add_watch": Name(1),
    "name_to_handle_at": Name(1, 0, follows=False),
}
_CHANGING = {
    "chmod": Name(0, act="change"),
    "fchmodat": Name(1, 0, "change"),
    "fchmodat2": Name(1, 0, "change", flags=3),
    "chown": Name(0, act="change"),
    "lchown": Name(0, act="change", follows=False),
    "fchownat": Name(1, 0, "change", flags=4),
    "utime": Name(0, act="change"),
    "utimes": Name(0, act="change"),
    "futimesat": Name(1, 0, "change"),
    "utimensat": Name(1, 0, "change", flags=3),
    "setxattr": Name(0, act="change"),
    "lsetxattr": Name(0, act="change", follows=False),
    "removexattr": Name(0, act="change"),
    "lremovexattr": Name(0, act="change", follows=False),
    "chroot": Name(0),
    "pivot_root": Name(0),
    "mount": Name(1),
    "umount2": Name(0),
}
_DOING: Mapping[str, Shape] = {
    "open": Opening(0, flags=1),
    "openat": Opening(1, 0, flags=2),
    "openat2": Opening(1, 0, flags=2, is_how=True),
    "creat": Opening(0, fixed=_CREAT),
    "execve": Name(0, act="execute"),
    "execveat": Name(1, 0, "execute", flags=4),
    "truncate": Name(0, act="write"),
    "mkdir": Name(0, act="create", follows=False),
    "mkdirat": Name(1, 0, "create", follows=False),
    "mknod": Name(0, act="create", follows=False),
    "mknodat": Name(1, 0, "create", follows=False),
    "symlink": Name(1, act="create", follows=False),
    "symlinkat": Name(2, 1, "create", follows=False),
    "rmdir": Name(0, act="remove", follows=False),
    "unlink": Name(0, act="remove", follows=False),
    "unlinkat": Name(1, 0, "remove", follows=False),
    "rename": Moving(Name(0), Name(1)),
    "renameat": Moving(Name(1, 0), Name(3, 2)),
    "renameat2": Moving(Name(1, 0), Name(3, 2)),
    "link": Moving(Name(0), Name(1), is_link=True),
    "linkat": Moving(Name(1, 0, flags=4), Name(3, 2), is_link=True),
    "connect": Meeting("connect", 1, 2),
    "bind": Meeting("bind", 1, 2),
    "sendto": Meeting("send", 4, 5),
    "sendmsg": Meeting("send", 1, -1, is_message=True),
    "sendmmsg": Meeting("send", 1, -1, is_message=True),
}
SHAPES: Mapping[str, Shape] = MappingProxyType({**_LOOKING, **_CHANGING, **_DOING})

DOING = frozenset(_DOING)
"""Calls that open, execute, make, remove and meet: what Landlock has rights for."""
NAMED = frozenset(SHAPES)
"""These, and those that look at files and change their attributes."""
MAKE = MappingProxyType(
    {"mkdir": "make_dir", "mkdirat": "make_dir", "symlink": "make_sym", "symlinkat": "make_sym", "link": "make_reg"}
)
"""The Landlock right of a call that makes an entry, where the call alone tells."""
