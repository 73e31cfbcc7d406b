"""Landlock: each right keeps what its name says, and the parent makes no rule for what changed under its hands."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import socket
import stat
import struct
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.plan.format import KIND_DIRECTORY, KIND_FILE, Plan
from sandrun.primitives import capset, landlock
from tests.support import Who, in_child, landlock_abi, need_landlock, sandrun

if TYPE_CHECKING:
    from collections.abc import Callable

# The order of the bits in linux/landlock.h, typed from the kernel's documentation and not from the product's table.
FS_BITS = (
    *("execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir"),
    *("make_reg", "make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev"),
    "resolve_unix",
)


def test_numbers() -> None:
    """Every right has the bit of its place in the header, and appears with its ABI."""
    assert {name: 1 << number for number, name in enumerate(FS_BITS)} == landlock.FS
    assert landlock.NET == {"bind_tcp": 1, "connect_tcp": 2, "bind_udp": 4, "connect_send_udp": 8}
    assert landlock.SCOPES == {"abstract_unix_socket": 1, "signal": 2}
    assert landlock.RESTRICT_FLAGS == {
        "log_same_exec_off": 1,
        "log_new_exec_on": 2,
        "log_subdomains_off": 4,
        "tsync": 8,
    }
    for bits, since in (
        (landlock.FS, landlock.FS_ABI),
        (landlock.NET, landlock.NET_ABI),
        (landlock.SCOPES, landlock.SCOPES_ABI),
        (landlock.RESTRICT_FLAGS, landlock.RESTRICT_FLAGS_ABI),
        (landlock.ADD_RULE_FLAGS, landlock.ADD_RULE_FLAGS_ABI),
    ):
        assert bits.keys() == since.keys()


@pytest.mark.parametrize(
    ("abi", "fs", "net", "scopes"),
    [
        (0, 0, 0, 0),
        (1, 0x1FFF, 0, 0),
        (2, 0x3FFF, 0, 0),
        (3, 0x7FFF, 0, 0),
        (4, 0x7FFF, 3, 0),
        (5, 0xFFFF, 3, 0),
        (6, 0xFFFF, 3, 3),
        (7, 0xFFFF, 3, 3),
        (8, 0xFFFF, 3, 3),
        (9, 0x1FFFF, 3, 3),
        (10, 0x1FFFF, 15, 3),
    ],
)
def test_masks(abi: int, fs: int, net: int, scopes: int) -> None:
    """What an ABI knows, as the kernel's documentation has it."""
    assert (landlock.fs_mask(abi), landlock.net_mask(abi), landlock.scope_mask(abi)) == (fs, net, scopes)


def test_names() -> None:
    """A mask is named in the order of the bits."""
    assert landlock.names(landlock.EXECUTE) == ("execute", "read_file", "read_dir")


def test_no_device_is_made() -> None:
    """`write` never makes a device file: opening it would be a way around every path."""
    assert not landlock.WRITE & (landlock.FS["make_char"] | landlock.FS["make_block"] | landlock.FS["execute"])


@pytest.mark.parametrize(("abi", "size"), [(1, 8), (3, 8), (4, 16), (5, 16), (6, 24), (9, 24), (10, 48)])
def test_attr_size(abi: int, size: int) -> None:
    """struct landlock_ruleset_attr has the size of its ABI, so that an old kernel takes it."""
    plan = Plan(
        landlock_abi=abi,
        landlock_fs=landlock.fs_mask(abi),
        landlock_net=landlock.net_mask(abi),
        landlock_scoped=landlock.scope_mask(abi),
    )
    attr = landlock.ruleset_attr(plan)
    assert len(attr) == size
    assert attr[:8] == struct.pack("=Q", landlock.fs_mask(abi))
    if abi <= landlock_abi():
        os.close(libc.landlock_create_ruleset(attr))


def test_attr_has_no_room() -> None:
    """Rights that the plan's ABI has no field for are an error, never left out."""
    for plan in (Plan(landlock_abi=3, landlock_net=1), Plan(landlock_abi=5, landlock_scoped=1)):
        with pytest.raises(SandrunError, match="has no such rights"):
            landlock.ruleset_attr(plan)


def test_unknown_bits() -> None:
    """Bits that this kernel does not know are its error, and ours, never ignored."""
    need_landlock(1)
    with pytest.raises(SandrunError, match="EINVAL"):
        landlock.create(Plan(landlock_abi=1, landlock_fs=1 << 40))


# --- each right ------------------------------------------------------------------------------------------------------


def enter(**fields: Any) -> None:
    """Restrict this process as a plan says."""
    fields.setdefault("landlock_abi", min(landlock_abi(), landlock.NEWEST_ABI))
    ruleset_fd = landlock.create(Plan(**fields))
    capset.set_attribute(libc.PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict_self(ruleset_fd, 0)
    os.close(ruleset_fd)


def execute(box: Path) -> None:
    pid = os.posix_spawn(box / "d/program", ["program"], {})
    assert os.waitpid(pid, 0)[1] == 0


def bind_path(box: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(box / "d/socket"))


def ioctl(box: Path) -> None:
    """A device that may be asked answers that the request is not for it."""
    with open("/dev/null", "rb") as device:
        try:
            fcntl.ioctl(device, termios.TCGETS, bytes(64))
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise


def write_file(box: Path) -> None:
    os.close(os.open(box / "d/file", os.O_WRONLY))


ATTEMPTS: dict[str, Callable[[Path], Any]] = {
    "execute": execute,
    "write_file": write_file,
    "read_file": lambda box: (box / "d/file").read_bytes(),
    "read_dir": lambda box: os.listdir(box / "d"),
    "remove_dir": lambda box: (box / "d/empty").rmdir(),
    "remove_file": lambda box: (box / "d/file").unlink(),
    "make_char": lambda box: os.mknod(box / "d/char", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "make_dir": lambda box: (box / "d/dir").mkdir(),
    "make_reg": lambda box: os.mknod(box / "d/reg", stat.S_IFREG | 0o600),
    "make_sock": bind_path,
    "make_fifo": lambda box: os.mkfifo(box / "d/fifo"),
    "make_block": lambda box: os.mknod(box / "d/block", stat.S_IFBLK | 0o600, os.makedev(7, 0)),
    "make_sym": lambda box: (box / "d/sym").symlink_to("x"),
    "refer": lambda box: (box / "d/file").rename(box / "d/empty/file"),
    "truncate": lambda box: os.truncate(box / "d/file", 0),
    "ioctl_dev": ioctl,
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_right(who: Who, box: Path, name: str) -> None:
    """With the right granted the attempt succeeds, with it handled and not granted the kernel refuses it."""
    need_landlock(landlock.FS_ABI[name])
    prepare(box, who)
    right = landlock.FS[name]

    def attempt(*, granted: bool) -> int:
        place = (b"/dev/null", KIND_FILE) if name == "ioctl_dev" else (os.fsencode(box), KIND_DIRECTORY)
        rules = [(right, place[1], place[0])] if granted else []
        if name == "execute":
            rules += [(right, KIND_DIRECTORY, os.path.realpath(b"/lib64")), (right, KIND_DIRECTORY, b"/usr")]
        handled = right
        if name == "refer":
            # Where the file's own rights would grow by the move, the kernel refuses it as well: handle nothing else.
            handled |= landlock.FS["make_reg"] | landlock.FS["remove_file"]
            both = landlock.FS["make_reg"] | landlock.FS["remove_file"]
            rules = [(handled if granted else both, KIND_DIRECTORY, os.fsencode(box))]
        enter(landlock_fs=handled, path_rules=tuple(rules))
        try:
            ATTEMPTS[name](box)
        except OSError as error:
            return error.errno or -1
        return 0

    assert in_child(lambda: attempt(granted=False), who) in (errno.EACCES, errno.EXDEV)
    # Behind Landlock, making a device takes CAP_MKNOD: another errno, from further on.
    unprivileged = name in ("make_block", "make_char") and not who.is_root
    assert in_child(lambda: attempt(granted=True), who) == (errno.EPERM if unprivileged else 0)


def prepare(box: Path, who: Who) -> None:
    (box / "d/empty").mkdir(parents=True)
    (box / "d/file").write_text("text")
    (box / "d/program").write_bytes(Path("/bin/true").read_bytes())
    (box / "d/program").chmod(0o755)
    who.own(box / "d", box / "d/empty", box / "d/file", box / "d/program")


def test_every_right_is_tried() -> None:
    """A right of this kernel's ABI without an attempt would be a claim without a test."""
    assert {name for name, since in landlock.FS_ABI.items() if since <= 8} == set(ATTEMPTS)


@pytest.mark.parametrize("name", ["bind_tcp", "connect_tcp"])
def test_ports(who: Who, name: str) -> None:
    """A port rule opens that port for that right, and no other."""
    need_landlock(4)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [listener.getsockname()[1] for listener in listeners]

    def attempt(port: int) -> int:
        with socket.socket() as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return made.connect_ex(("127.0.0.1", port)) if name == "connect_tcp" else bind(made, port)

    def bind(made: socket.socket, port: int) -> int:
        try:
            made.bind(("127.77.0.1", port))  # free while the listener has it at another address
        except OSError as error:
            return error.errno or -1
        return 0

    def confined() -> list[int]:
        enter(landlock_net=landlock.NET[name], port_rules=((landlock.NET[name], ports[0]),))
        return [attempt(port) for port in ports]

    assert in_child(lambda: [attempt(port) for port in ports], who) == [0, 0]
    assert in_child(confined, who) == [0, errno.EACCES]
    for listener in listeners:
        listener.close()


def test_scope_signal(who: Who) -> None:
    """Signals reach processes of the sandbox and no other."""
    need_landlock(6)

    def attempt(*, scoped: bool) -> list[int]:
        if scoped:
            enter(landlock_scoped=landlock.SCOPES["signal"])
        return [kill(pid) for pid in (outside.pid, os.getpid())]

    def kill(pid: int) -> int:
        try:
            os.kill(pid, 0)
        except OSError as error:
            return error.errno or -1
        return 0

    with who.popen(["/bin/sleep", "60"]) as outside:
        free, scoped = in_child(lambda: attempt(scoped=False), who), in_child(lambda: attempt(scoped=True), who)
        outside.kill()
    assert (free, scoped) == ([0, 0], [errno.EPERM, 0])


def test_scope_abstract_unix_socket(who: Who) -> None:
    """Abstract unix sockets of the world outside are out of reach."""
    need_landlock(6)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("")
        server.listen()

        def attempt(*, scoped: bool) -> int:
            if scoped:
                enter(landlock_scoped=landlock.SCOPES["abstract_unix_socket"])
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(server.getsockname())

        assert in_child(lambda: attempt(scoped=False), who) == 0
        assert in_child(lambda: attempt(scoped=True), who) == errno.EPERM


def test_restrict_flags(who: Who) -> None:
    """The log flags of ABI 7 are taken."""
    need_landlock(7)

    def attempt() -> None:
        ruleset_fd = landlock.create(Plan(landlock_abi=7, landlock_fs=1))
        capset.set_attribute(libc.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict_self(ruleset_fd, landlock.RESTRICT_FLAGS["log_same_exec_off"])

    in_child(attempt, who)


# --- what the parent refuses -----------------------------------------------------------------------------------------


def make(*rules: tuple[int, int, Path], holes: tuple[Path, ...] = (), private: tuple[Path, ...] = ()) -> None:
    """Create a ruleset with these rules and close it; check that no descriptor is left, also after an error."""
    need_landlock(3)
    before = os.listdir("/proc/self/fd")
    plan = Plan(
        landlock_abi=3,
        landlock_fs=landlock.fs_mask(3),
        path_rules=tuple((access, kind, os.fsencode(path)) for access, kind, path in rules),
        holes=tuple(map(os.fsencode, holes)),
        private_access=landlock.WRITE & landlock.fs_mask(3),
    )
    try:
        ruleset_fd = landlock.create(plan, tuple(map(os.fsencode, private)))
        assert fcntl.fcntl(ruleset_fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(ruleset_fd)
    finally:
        assert set(os.listdir("/proc/self/fd")) <= set(before)


def test_no_landlock() -> None:
    """A plan without Landlock makes no ruleset."""
    assert landlock.create(Plan()) == -1


@pytest.fixture(params=["openat2", "an outer filter refuses openat2"])
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to open a path without following a link."""

    def refused(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    if request.param != "openat2":
        monkeypatch.setattr(libc, "openat2", refused)


@pytest.mark.usefixtures("opening")
def test_gone(box: Path) -> None:
    """A path that vanished after planning is an error that names it."""
    with pytest.raises(SandrunError) as caught:
        make((landlock.READ, KIND_DIRECTORY, box / "gone"))
    assert caught.value.message == f"cannot grant {box}/gone: No such file or directory (ENOENT)"


def test_another_kind(box: Path) -> None:
    """A directory that became a file, or a file a directory, is refused: the rights would mean something else."""
    (box / "file").write_text("")
    with pytest.raises(SandrunError, match="it was a directory and is a file now"):
        make((landlock.READ, KIND_DIRECTORY, box / "file"))
    with pytest.raises(SandrunError, match="it was a file and is a directory now"):
        make((landlock.READ, KIND_FILE, box))


@pytest.mark.usefixtures("opening")
def test_exchanged_for_a_link(box: Path) -> None:
    """A symbolic link is never followed, neither at the end nor on the way: planning had resolved them all."""
    (box / "real").mkdir()
    (box / "real/file").write_text("")
    (box / "link").symlink_to("real")
    for kind, path in ((KIND_DIRECTORY, box / "link"), (KIND_FILE, box / "link/file")):
        with pytest.raises(SandrunError, match="ELOOP") as caught:
            make((landlock.READ, kind, path))
        assert "symbolic link" in (caught.value.hint or "")
    make((landlock.READ, KIND_FILE, box / "real/file"))


@pytest.mark.usefixtures("opening")
def test_hole_by_another_name(box: Path) -> None:
    """A granted hard link to a denied file is refused; a hole that does not exist stands in nobody's way."""
    (box / "secret").write_text("")
    (box / "link").hardlink_to(box / "secret")
    with pytest.raises(SandrunError, match=r"is the same file as .*/secret, which is denied"):
        make((landlock.READ, KIND_FILE, box / "link"), holes=(box / "secret",))
    make((landlock.READ, KIND_FILE, box / "link"), holes=(box / "absent", box / "link" / "below-a-file"))


def test_hole_as_private(box: Path) -> None:
    """A private directory is held against the holes as well."""
    with pytest.raises(SandrunError, match="is denied"):
        make(holes=(box,), private=(box,))


def test_hole_out_of_reach(who: Who, box: Path) -> None:
    """A hole that neither we nor the command, the same user, may reach is no obstacle for the user."""
    closed = box / "closed"
    closed.mkdir()
    closed.chmod(0o000)
    try:
        in_child(lambda: make((landlock.READ, KIND_DIRECTORY, box), holes=(closed / "secret",)), who)
    finally:
        closed.chmod(0o700)


def test_file_rights(who: Who, box: Path) -> None:
    """Directory rights of a grant on a file are left out, since the kernel takes none of them there."""
    (box / "file").write_text("text")
    who.own(box / "file")

    def attempt() -> str:
        need_landlock(3)
        rule = (landlock.WRITE & landlock.fs_mask(3), KIND_FILE, os.fsencode(box / "file"))
        enter(landlock_abi=3, landlock_fs=landlock.fs_mask(3), path_rules=(rule,))
        (box / "file").write_text("changed")
        return (box / "file").read_text()

    assert in_child(attempt, who) == "changed"


def test_rights_for_directories_only(box: Path) -> None:
    """A rule on a file that leaves no right is no rule, and no error."""
    (box / "file").write_text("")
    make((landlock.FS["read_dir"], KIND_FILE, box / "file"))


def test_refused_bits(box: Path) -> None:
    """A right that the ruleset does not handle is the kernel's error, with the path."""
    need_landlock(1)
    rule = (landlock.FS["read_file"], KIND_DIRECTORY, os.fsencode(box))
    with pytest.raises(SandrunError, match=f"cannot grant {box}: .*EINVAL"):
        landlock.create(Plan(landlock_abi=1, landlock_fs=1, path_rules=(rule,)))


def test_no_descriptors_left(who: Who, box: Path) -> None:
    """A caller at its limit of descriptors gets an error, not half a ruleset."""

    def attempt() -> str:
        need_landlock(1)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
        while True:
            try:
                os.dup(0)
            except OSError:
                break
        try:
            enter(landlock_abi=1, landlock_fs=1, path_rules=((1, KIND_DIRECTORY, os.fsencode(box)),))
        except SandrunError as error:
            return error.message
        return ""

    assert "EMFILE" in in_child(attempt, who)


def test_numbers_agree_with_the_header() -> None:
    """Where this machine's linux/landlock.h knows a right, it has our bit."""
    header = Path("/usr/include/linux/landlock.h")
    if not header.exists():
        pytest.skip("no kernel headers are installed")
    found = dict(re.findall(r"#define LANDLOCK_ACCESS_FS_(\w+)\s+\(1ULL << (\d+)\)", header.read_text()))
    assert found
    assert {name.lower(): 1 << int(bit) for name, bit in found.items()}.items() <= landlock.FS.items()


def test_needs_no_new_privs() -> None:
    """Without no_new_privs and without CAP_SYS_ADMIN the kernel refuses, and so do we."""

    def attempt() -> int:
        need_landlock(1)
        ruleset_fd = landlock.create(Plan(landlock_abi=1, landlock_fs=1))
        libc.capset(libc.capability_sets(0, 0, 0))
        try:
            landlock.restrict_self(ruleset_fd, 0)
        except OSError as error:
            return error.errno or 0
        return 0

    assert in_child(attempt) == errno.EPERM


EVERYTHING = ("-p", "none", "-r", "@all", "-w", "@all", "-x", "@all")


def test_files_move_where_everything_is_granted(who: Who, box: Path) -> None:
    """On every ABI, although a ruleset that handles any right denies it unless it is granted."""
    need_landlock(2)
    who.run(["mkdir", "a", "b"], cwd=box, check=True)
    moved = "import os; open('a/f', 'w').close(); os.rename('a/f', 'b/f'); os.link('b/f', 'a/g')"
    sandrun(*EVERYTHING, "--", "python3", "-c", moved, who=who, cwd=box, check=True)


def test_everything_and_a_private_home(who: Who) -> None:
    """The private directory needs no rule in a ruleset that has nothing to say of files."""
    need_landlock(1)
    environment = {**who.env, "HOME": "/nonexistent"}
    script = 'touch "$HOME/made" && echo "$HOME"'
    done = sandrun(*EVERYTHING, "--home", "private", "--", "sh", "-c", script, who=who, env=environment, check=True)
    assert not Path(done.stdout.strip()).exists()
