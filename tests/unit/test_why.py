"""why: what the judge says of a plan, and which entry it names, for any kernel and machine."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from sandrun.kernel import NAMESPACES, Kernel
from sandrun.plan.resolve import resolve
from sandrun.primitives.landlock import FS
from sandrun.profile import load
from sandrun.profile.bad import Bad
from sandrun.why.judge import Judge
from sandrun.why.ways import ways
from tests.fakes import FakeHost, debian_host, directory, file, hard, link

if TYPE_CHECKING:
    from pathlib import Path

    from sandrun.why.answer import Answer

PROJECT = "/home/alice/project"
EVERY_ABI = (1, 2, 3, 4, 5, 6, 7, 9, 10)


def judge(
    *flags: tuple[str, str],
    profile: str = "none",
    host: FakeHost | None = None,
    abi: int = 7,
    namespaces: bool = False,
    optional: tuple[str, ...] = (),
) -> Judge:
    """The judge of these flags, for alice in her project on a small Debian."""
    host = host or debian_host()
    flags = (("filesystem.execute", "@system"), *flags)
    loaded = load([profile], [(key, text, "--" + key.partition(".")[2]) for key, text in flags], optional=optional)
    kernel = Kernel(
        landlock_abi=abi,
        landlock_state="available" if abi else "missing",
        namespace_reason="not here",
        **dict.fromkeys(NAMESPACES, namespaces),
    )
    return Judge(loaded, resolve(loaded, kernel, host, ["/usr/bin/busybox"]), kernel, host, ways([profile]))


def keys(answer: Answer) -> list[str]:
    return [f"{entry.key} {entry.text}" for entry in answer.entries]


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", EVERY_ABI)
def test_the_most_specific_grant_is_named(abi: int) -> None:
    """Of all entries that cover a path the one nearest to it decides, on every kernel."""
    asked = judge(("filesystem.read", "/opt"), ("filesystem.write", PROJECT), abi=abi)
    assert keys(asked.file("read", PROJECT)) == [f"filesystem.write {PROJECT}"]
    assert keys(asked.file("read", "/opt")) == ["filesystem.read /opt"]
    answer = asked.file("write", "/opt/x")
    assert (answer.granted, answer.entries, answer.reason) == (False, (), "no entry grants it")
    assert answer.mechanisms == ("landlock",)


def test_links_and_dots_are_followed_as_the_kernel_does() -> None:
    """`..` behind a link is the parent of what it leads to, and a circle leads nowhere."""
    host = debian_host(tree={"/srv/link": link("/opt/deep"), "/opt/deep": directory(), "/srv/round": link("round")})
    asked = judge(("filesystem.read", "/opt"), host=host)
    assert asked.file("read", "/srv/link/..").allowed
    assert "leads to /opt" in asked.file("read", "/srv/link/..").notes[0]
    assert "too many links" in asked.file("read", "/srv/round").ordinary


def test_of_a_directory_that_may_not_be_listed_nobody_knows_whether_it_is_empty() -> None:
    """It is said, and not taken for an answer."""
    tree = {"/opt/open": directory(0o777), "/opt/open/closed": directory(0o300, 1000), "/opt/open/empty": directory()}
    asked = judge(("filesystem.write", "/opt"), host=debian_host(tree=tree))
    assert asked.file("remove", "/opt/open/closed").notes == (
        "it is not known whether it is empty: it may not be listed",
    )
    assert asked.file("remove", "/opt/open/empty").notes == ()


def test_a_hard_link_has_the_rights_of_its_file() -> None:
    """A rule on a file holds by whatever name it is opened."""
    host = debian_host(tree={"/srv/one": file(), "/srv/two": hard("/srv/one")})
    asked = judge(("filesystem.read", "/srv/one"), host=host)
    assert asked.file("read", "/srv/two").allowed
    assert keys(asked.file("read", "/srv/two")) == ["filesystem.read /srv/one"]


def test_a_denial_is_named_and_so_is_what_it_does_to_the_directory_around_it() -> None:
    """Landlock alone leaves the directory around a hole without rights of its own."""
    host = debian_host(tree={"/srv/a/secret": file(), "/srv/a/other": file()})
    flags = (("filesystem.read", "/srv"), ("filesystem.deny", "/srv/a/secret"))
    asked = judge(*flags, host=host)
    assert asked.file("read", "/srv/a/secret").reason == "denied by filesystem.deny /srv/a/secret (--deny)"
    assert asked.file("read", "/srv/a/other").allowed
    covered = judge(("filesystem.write", "/srv"), flags[1], host=host, namespaces=True).file("read", "/srv/a/secret")
    assert "mount" in covered.mechanisms
    assert keys(covered) == ["filesystem.deny /srv/a/secret"]


def test_a_frozen_directory_names_the_denial_in_it() -> None:
    """Nothing new can be made beside a denial without mounts, and the denial is why."""
    host = debian_host(tree={"/srv/a/secret": file()})
    flags = (("filesystem.write", "/srv"), ("filesystem.deny", "/srv/a/secret"))
    answer = judge(*flags, host=host, optional=("filesystem.deny", "filesystem.write")).file("write", "/srv/a/new")
    assert not answer.granted
    assert keys(answer) == ["filesystem.deny /srv/a/secret"]
    assert "lies in /srv/a" in answer.reason


def test_a_hidden_home_is_said_to_be_hidden() -> None:
    """What the host has and the view has not is refused by the mount, by the entry that asked for it."""
    answer = judge(("filesystem.home", "hidden"), namespaces=True).file("read", "/home/alice/.ssh/id_ed25519")
    assert not answer.granted
    assert "mount" in answer.mechanisms
    assert keys(answer) == ["filesystem.home hidden"]


def test_ordinary_permissions_are_told_apart() -> None:
    """A grant does not make root's files alice's; and what is not there is no refusal of the plan."""
    asked = judge(("filesystem.read", "/etc"))
    shadow = asked.file("read", "/etc/shadow")
    assert (shadow.granted, shadow.allowed) == (True, False)
    assert shadow.ordinary == "/etc/shadow may not be read: it belongs to uid 0 and gid 42, mode 0640"
    assert asked.file("read", "/etc/absent").ordinary == "there is no /etc/absent"
    assert asked.file("read", "/etc/hosts/x").ordinary == "it is not a directory: /etc/hosts"


def test_a_script_needs_its_interpreter() -> None:
    """execve(2) opens the interpreter too, and it is that which is refused."""
    host = debian_host(tree={"/srv/script": file(b"#!/opt/tool\n", 0o755), "/opt/tool": file(b"", 0o755)})
    answer = judge(("filesystem.execute", "/srv/script"), host=host).file("execute", "/srv/script")
    assert not answer.granted
    assert answer.reason == "it starts with /opt/tool: no entry grants it"


def test_rights_can_be_asked_for_by_name() -> None:
    """Making something asks the directory, opening asks the file."""
    from sandrun.primitives.landlock import FS

    asked = judge(("filesystem.write", PROJECT))
    assert asked.file("write", f"{PROJECT}/pipe", FS["make_fifo"]).allowed
    assert not asked.file("write", f"{PROJECT}/device", FS["make_char"]).granted


def test_without_landlock_only_mounts_refuse() -> None:
    """The judge says what holds, and not what the profile wishes."""
    lost = ("filesystem.read", "filesystem.write", "filesystem.execute")
    asked = judge(("filesystem.write", PROJECT), abi=0, namespaces=True, optional=lost)
    assert asked.file("read", "/opt").allowed
    assert asked.file("write", "/opt").mechanisms == ("mount",)


# --- through which profiles ----------------------------------------------------------------------------------------


def test_an_entry_tells_the_way_through_extends(tmp_path: Path) -> None:
    """FILE:LINE of the entry, and each profile that was extended on the way to it."""
    (tmp_path / "base.toml").write_text('[filesystem]\nread = ["/opt"]\n')
    (tmp_path / "middle.toml").write_text('extends = "./base.toml"\n')
    (tmp_path / "top.toml").write_text('extends = "./middle.toml"\n')
    (entry,) = judge(profile=f"{tmp_path}/top.toml").file("read", "/opt").entries
    assert entry.origin == f"{tmp_path}/base.toml:2: filesystem.read[0]"
    assert entry.through == (f"{tmp_path}/top.toml", f"{tmp_path}/middle.toml")


# --- the network ---------------------------------------------------------------------------------------------------


def test_ports_and_denied_ports() -> None:
    """A port is granted or not, and a denial is named."""
    asked = judge(
        ("network.connect", "tcp:443"),
        ("network.connect", "tcp:80"),
        ("network.deny", "tcp:80"),
        ("network.bind", "tcp:8080"),
    )
    assert keys(asked.connect("192.0.2.1", 443)) == ["network.connect tcp:443"]
    assert asked.connect("example.org", 443).allowed
    assert asked.connect("192.0.2.1", 80).reason == "denied by network.deny tcp:80 (--deny)"
    assert not asked.connect("192.0.2.1", 22).granted
    assert not asked.connect("192.0.2.1", 443, "udp").granted
    assert asked.bind(8080).allowed
    assert asked.bind(8081).mechanisms == ("landlock",)
    with pytest.raises(Bad):
        asked.connect("no host", 1)


def test_no_network_is_the_filters() -> None:
    """Without any grant no socket is made."""
    asked = judge()
    assert asked.connect("192.0.2.1", 443).mechanisms == ("seccomp",)
    assert asked.bind(80).mechanisms == ("seccomp",)
    assert asked.unix("/run/x").mechanisms == ("seccomp",)


def test_hosts_are_the_relays() -> None:
    """A name is granted, another one is not, and the loopback is the command's own."""
    asked = judge(("network.connect", "example.org:443"), namespaces=True)
    assert keys(asked.connect("example.org", 443)) == ["network.connect example.org:443"]
    assert asked.connect("example.com", 443).mechanisms == ("relay",)
    assert asked.connect("127.0.0.1", 5432).mechanisms == ("network namespace",)


# --- syscalls ------------------------------------------------------------------------------------------------------


def test_syscalls_by_list_guard_and_argument() -> None:
    """The list that allows, the protection that refuses, and what only some arguments get."""
    asked = judge(("syscalls.allow", "@system-service"), ("syscalls.deny", "kcmp"))
    assert keys(asked.syscall("read")) == ["syscalls.allow @system-service"]
    assert keys(asked.syscall("kcmp")) == ["syscalls.deny kcmp"]
    assert asked.syscall("mount").reason.endswith("it answers EPERM")
    assert asked.syscall("io_uring_setup").entries[0].key == "network.connect"
    clone = asked.syscall("clone")
    assert clone.granted
    assert clone.notes == ("with some arguments only: else it answers EPERM",)
    assert not asked.syscall("clone", (0x10000000,)).granted
    assert asked.syscall("clone", (17,)).granted
    with pytest.raises(ValueError, match="unknown syscall"):
        asked.syscall("no_such_call")
    with pytest.raises(ValueError, match="many system calls"):
        asked.syscall("@mount")


# --- ordinary permissions beyond owner and mode --------------------------------------------------------------------

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NOBODY = 0xFFFFFFFF


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize(
    ("mode", "entries", "read", "write"),
    [
        # alice has uid 1000, and is in group 1000 only; the file is root's
        (0o660, ((USER_OBJ, 6, NOBODY), (USER, 4, 1000), (GROUP_OBJ, 0, NOBODY), (MASK, 6, NOBODY)), True, False),
        (0o640, ((USER_OBJ, 6, NOBODY), (USER, 6, 1000), (GROUP_OBJ, 0, NOBODY), (MASK, 4, NOBODY)), True, False),
        (0o664, ((USER_OBJ, 6, NOBODY), (USER, 0, 1000), (MASK, 6, NOBODY), (OTHER, 4, NOBODY)), False, False),
        (0o664, ((USER_OBJ, 6, NOBODY), (GROUP, 6, 1000), (MASK, 6, NOBODY), (OTHER, 4, NOBODY)), True, True),
        (0o664, ((USER_OBJ, 6, NOBODY), (GROUP, 0, 1000), (MASK, 6, NOBODY), (OTHER, 4, NOBODY)), False, False),
        (0o664, ((USER_OBJ, 6, NOBODY), (GROUP, 6, 77), (MASK, 6, NOBODY), (OTHER, 4, NOBODY)), True, False),
        (0o600, ((USER_OBJ, 6, NOBODY), (USER, 6, 1000), (MASK, 0, NOBODY), (OTHER, 0, NOBODY)), False, False),
    ],
)
def test_access_control_lists(mode: int, entries: tuple[tuple[int, int, int], ...], *, read: bool, write: bool) -> None:
    """The list decides as acl(5) says: a named user, then groups, each under the mask, then others."""
    host = debian_host(tree={"/srv/x": file(mode=mode)})
    host.acls["/srv/x"] = acl(*entries)
    asked = judge(("filesystem.write", "/srv"), host=host)
    assert (asked.file("read", "/srv/x").allowed, asked.file("write", "/srv/x").allowed) == (read, write)


@pytest.mark.parametrize("value", [b"0\n", b"1\n"])
def test_protected_symlinks(value: bytes) -> None:
    """A stranger's link at the end of a path in a shared sticky directory leads nowhere, if the kernel is told so."""
    tree = {
        "/proc/sys/fs/protected_symlinks": file(value),
        "/shared": directory(mode=0o1777),
        "/shared/theirs": link("/srv")._replace(uid=33),
        "/shared/mine": link("/srv")._replace(uid=1000),
        "/shared/roots": link("/srv"),
        "/srv/x": file(),
    }
    asked = judge(("filesystem.read", "/srv"), ("filesystem.read", "/shared"), host=debian_host(tree=tree))
    assert asked.file("read", "/shared/theirs").allowed == (value == b"0\n")
    assert asked.file("read", "/shared/mine").allowed
    assert asked.file("read", "/shared/roots").allowed
    assert asked.file("read", "/shared/theirs/x").allowed


@pytest.mark.parametrize("value", [0, 1, 2])
@pytest.mark.parametrize("mode", [0o1777, 0o1775])
def test_protected_regular(value: int, mode: int) -> None:
    """Strangers' files in a shared sticky directory are not opened by a call that would also make them."""
    tree = {
        "/proc/sys/fs/protected_regular": file(b"%d\n" % value),
        "/shared": directory(mode=mode),
        "/shared/theirs": file(mode=0o666, uid=33),
        "/shared/mine": file(mode=0o666, uid=1000),
    }
    asked = judge(("filesystem.write", "/shared"), host=debian_host(tree=tree))
    assert asked.file("write", "/shared/theirs").allowed == (value < (1 if mode & 2 else 2))
    assert asked.file("read", "/shared/theirs").allowed
    assert asked.file("write", "/shared/mine").allowed
    assert asked.file("write", "/shared/theirs", FS["write_file"]).allowed


def test_protected_hardlinks() -> None:
    """To be linked to, a stranger's file has to be one that could be written."""
    tree = {
        "/proc/sys/fs/protected_hardlinks": file(b"1\n"),
        "/srv/closed": file(mode=0o644, uid=33),
        "/srv/open": file(mode=0o666, uid=33),
        "/srv/setuid": file(mode=0o4777, uid=33),
        "/srv/mine": file(mode=0o600, uid=1000),
    }
    asked = judge(("filesystem.write", "/srv"), host=debian_host(tree=tree))
    found = {
        name: asked.file("read", f"/srv/{name}", FS["refer"]).ordinary for name in ("closed", "open", "setuid", "mine")
    }
    assert "fs.protected_hardlinks" in found["closed"]
    assert "fs.protected_hardlinks" in found["setuid"]
    assert (found["open"], found["mine"]) == ("", "")
