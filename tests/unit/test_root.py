"""filesystem.root: paths that mean those inside, and a plan that names what it opens as on the host."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from sandrun import failure
from sandrun.errors import CommandError, ProblemsError
from sandrun.kernel import NAMESPACES, Kernel
from sandrun.plan.resolve import Resolution, resolve
from sandrun.primitives import caps
from sandrun.primitives.landlock import FS, WRITE
from sandrun.primitives.view import READ_ONLY, VIEW_BIND, VIEW_CHROOT, VIEW_OVERLAY, VIEW_PROC, VIEW_ROOT, VIEW_TMPFS
from sandrun.profile import load
from sandrun.profile.model import AccessRule, Value
from sandrun.profile.paths import parse
from sandrun.rooted import RootedHost
from tests.fakes import FakeHost, debian_host, device, directory, file, link, program

if TYPE_CHECKING:
    from tests.fakes import Node

TOP = "/srv/root"
TREE: dict[str, Node] = {
    f"{TOP}/bin/sh": program(),
    f"{TOP}/sh": link("/bin/sh"),
    f"{TOP}/up": link("../../../etc/shadow"),
    f"{TOP}/out": link("/etc"),
    f"{TOP}/etc/passwd": file(b"inside\n"),
    f"{TOP}/usr/lib": directory(),
    f"{TOP}/lib": link("usr/lib"),
    f"{TOP}/loop": link("loop"),
    f"{TOP}/dev": directory(),
    f"{TOP}/proc": directory(),
    f"{TOP}/tmp": directory(0o1777),
    f"{TOP}/mnt": directory(),
    f"{TOP}/work/sub": directory(),
    f"{TOP}/home/alice": directory(0o755, 1000, 1000),
    "/data/secret": file(b"data\n"),
    "/data/etc": link("/etc"),
}
NONE = dict.fromkeys(NAMESPACES, False)


def a_host(tree: dict[str, Node] | None = None, uid: int = 1000) -> FakeHost:
    return debian_host(uid, tree=TREE | (tree or {}))


def plan(
    *flags: tuple[str, str],
    host: FakeHost | None = None,
    at: dict[str, str] | None = None,
    access: tuple[str, ...] = ("read_file", "read_dir"),
    kernel: Kernel | None = None,
    optional: tuple[str, ...] = (),
) -> Resolution:
    """The plan for /bin/sh in the root; `at` shows host paths (values) at others (keys)."""
    words = [("filesystem.root", TOP), *flags]
    profile = load(["none"], [(key, text, f"--{key}") for key, text in words], optional=optional)
    origin = profile.values["filesystem.root"][0].origin
    rules = tuple(Value(AccessRule(parse(path), access, place), origin) for place, path in (at or {}).items())
    if rules:
        profile = profile._replace(values={**profile.values, "filesystem.rules": rules})
    return resolve(
        profile, kernel or Kernel(landlock_abi=7, **dict.fromkeys(NAMESPACES, True)), host or a_host(), ["/bin/sh"]
    )


def rules(found: Resolution) -> dict[str, int]:
    return {os.fsdecode(path): access for access, _, path in found.plan.path_rules}


def refusal(*flags: tuple[str, str], **options: object) -> str:
    with pytest.raises(ProblemsError) as caught:
        plan(*flags, **options)  # type: ignore[arg-type]
    return "\n".join(caught.value.lines())


def records(found: Resolution, operation: int) -> dict[str, tuple[int, str]]:
    """Flags and source by path."""
    rows = ((path, flags, source) for kind, flags, path, source in found.plan.view if kind == operation)
    return {os.fsdecode(path): (flags, os.fsdecode(source)) for path, flags, source in rows}


# --- the host of a root ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/", "/"),
        ("/..", "/"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/sh", "/bin/sh"),
        ("/up", "/etc/shadow"),
        ("/out/passwd", "/etc/passwd"),
        ("/out/../sh", "/bin/sh"),
        ("/lib/../../..", "/"),
        ("/absent/../sh", "/bin/sh"),
        ("relative", "/relative"),
        ("/mnt/secret", "/mnt/secret"),
        ("/mnt/etc/passwd", "/etc/passwd"),
    ],
)
def test_links_stay_inside(path: str, real: str) -> None:
    """An absolute link starts at the root again, also one in what is shown there, and `..` does not leave it."""
    assert RootedHost(a_host(), TOP, shown={"/mnt": "/data"}).realpath(path) == real


def test_questions_are_about_what_is_inside() -> None:
    """Every question by path is answered for the file inside, and one that leads in circles by nothing."""
    host = RootedHost(a_host(), TOP, shown={"/mnt": "/data"})
    assert host.read("/out/passwd", 100) == b"inside\n"
    assert host.read("/mnt/secret", 100) == b"data\n"
    assert host.read("/up", 100) is None
    assert host.stat("/up") is None
    assert host.lstat("/up") is not None
    assert host.readlink("/out") == "/etc"
    assert host.listdir("/out") == ["passwd"]
    assert [name for name, _ in host.modes("/mnt") or ()] == ["etc", "secret"]
    for path in ("/loop", "/loop/x"):
        assert host.stat(path) is None
        assert host.read(path, 100) is None
    assert host.stat("/mnt/secret") == a_host().stat("/data/secret")


def test_names_of_the_host_inside() -> None:
    """A path of the host has the names by which it can be reached inside, and no other."""
    host = RootedHost(a_host(), TOP, shown={"/mnt": "/data"})
    assert host.inner(f"{TOP}/etc") == ["/etc"]
    assert host.inner("/data/secret") == ["/mnt/secret"]
    assert host.inner(f"{TOP}/mnt") == []
    assert host.inner("/etc/passwd") == []


def test_mounts_of_a_root() -> None:
    """The mounts that show inside have their points there: the one that the root is in, and those below it."""
    tree = {f"{TOP}/proc": directory()}
    host = FakeHost({**TREE, **tree}, filesystems={f"{TOP}/proc": 20, "/srv": 3, "/data": 4, "/elsewhere": 5})
    found = RootedHost(host, TOP, shown={"/mnt": "/data"}).mounts()
    assert {(mount.dev, mount.root, mount.point) for mount in found} == {
        (3, "/root", "/"),
        (20, "/", "/proc"),
        (4, "/", "/mnt"),
    }


# --- the plan --------------------------------------------------------------------------------------------------------


def test_paths_get_the_root_in_front() -> None:
    """What is opened before the root changes is named as on the host; the command and its directory as inside."""
    found = plan(("filesystem.read", "/out/passwd"), ("filesystem.execute", "/lib"), ("filesystem.write", "/work"))
    assert set(rules(found)) == {f"{TOP}/etc/passwd", f"{TOP}/usr/lib", f"{TOP}/work"}
    assert (found.plan.executable, found.plan.cwd) == (b"/bin/sh", b"/")
    assert found.plan.view[0] == (VIEW_ROOT, READ_ONLY, b"/", TOP.encode())
    assert records(found, VIEW_BIND) == {"/work": (0, f"{TOP}/work")}


def test_the_command_is_the_one_inside() -> None:
    """A command that only the host has is not found."""
    profile = load(["none"], [("filesystem.root", TOP, "--root")])
    with pytest.raises(CommandError, match="bash"):
        resolve(profile, Kernel(landlock_abi=7, **dict.fromkeys(NAMESPACES, True)), a_host(), ["/usr/bin/bash"])


def test_the_working_directory() -> None:
    """It is a path inside, and relative paths start there."""
    found = plan(("process.cwd", "/work"), ("filesystem.write", "sub"))
    assert found.plan.cwd == b"/work"
    assert list(rules(found)) == [f"{TOP}/work/sub"]


def test_create_is_made_inside() -> None:
    """What is made if absent lies in the root."""
    assert plan(("filesystem.create", "/out/new/")).plan.create == (f"{TOP}/etc/new/".encode(),)


def test_the_whole_root_may_be_written() -> None:
    """Then it is not read-only; its devices stay closed, and Landlock grants it and nothing outside."""
    found = plan(*((f"filesystem.{name}", "@all") for name in ("read", "write", "execute")))
    assert found.plan.view[0] == (VIEW_ROOT, 0, b"/", TOP.encode())
    assert list(rules(found)) == [TOP]
    assert found.plan.landlock_fs & FS["read_file"]


def test_places() -> None:
    """They are put on directories that are there; a missing one is noted, since nothing is made on the host for it."""
    words = [("filesystem.tmp", "private"), ("filesystem.proc", "own"), ("process.isolate", "true")]
    found = plan(*words)
    assert "/tmp" in records(found, VIEW_TMPFS)
    assert "/proc" in records(found, VIEW_PROC)
    host = a_host()
    for name in ("tmp", "proc"):
        del host.tree[f"{TOP}/{name}"]
    found = plan(*words, host=host)
    assert not records(found, VIEW_TMPFS)
    assert not records(found, VIEW_PROC)
    notes = {one.key: one.notes for one in found.enforcement}
    assert "no directory /tmp" in notes["filesystem.tmp"][0]
    assert "no directory /proc" in notes["filesystem.proc"][0]


def test_minimal_devices_are_those_of_the_host() -> None:
    """A device node in the root may be anything, so a minimal /dev has the host's; without a directory it is refused."""
    found = plan(("filesystem.dev", "minimal"), host=a_host({f"{TOP}/dev/null": device()}))
    assert records(found, VIEW_BIND)["/dev/null"][1] == "/dev/null"
    assert rules(found)["/dev/null"] & FS["write_file"]
    for there in (file(), link("/mnt")):
        assert "no directory /dev" in refusal(("filesystem.dev", "minimal"), host=a_host({f"{TOP}/dev": there}))


def test_at_brings_in_something_of_the_host() -> None:
    """The path of a rule with `at` is the host's; what else is said about the place holds for it."""
    found = plan(("filesystem.deny", "/mnt/secret"), at={"/mnt": "/data"})
    bound = records(found, VIEW_BIND)
    assert bound["/mnt"] == (READ_ONLY, "/data")
    assert bound["/mnt/secret"] == (READ_ONLY, "/dev/null")
    assert "/data" in rules(found)
    assert found.plan.holes == (b"/data/secret",)


def test_at_needs_a_mount_point() -> None:
    """What is shown on the root's own tree takes something there of the same kind; a place takes anything."""
    assert "nothing to mount on: /absent" in refusal(at={"/absent": "/data"})
    found = plan(("filesystem.tmp", "private"), at={"/tmp/deep/data": "/data"})
    assert records(found, VIEW_BIND)["/tmp/deep/data"] == (READ_ONLY, "/data")


def test_at_is_not_led_by_a_link_inside() -> None:
    """A link in the root could be an earlier command's work: it does not choose what of the host is shown."""
    assert "could have made" in refusal(at={"/mnt": f"{TOP}/out"})


def test_overlay_in_a_root() -> None:
    """The record names the directory as on the host, which is where changes are committed to."""
    assert list(records(plan(("filesystem.overlay", "/work")), VIEW_OVERLAY)) == [f"{TOP}/work"]


def test_what_the_next_launch_trusts_is_compared_by_its_real_place() -> None:
    """A root, or what is shown in it, that holds sandrun's own profiles keeps them read-only."""
    settings = "/home/alice/.config/sandrun"
    host = a_host(
        {settings: directory(0o700, 1000, 1000), "/home/alice/.local/state/sandrun": directory(0o700, 1000, 1000)}
    )
    found = plan(at={"/mnt": "/home/alice"}, access=tuple(name for name, bit in FS.items() if bit & WRITE), host=host)
    assert records(found, VIEW_BIND)["/mnt/.config/sandrun"] == (READ_ONLY, settings)


# --- where there is no mount namespace -------------------------------------------------------------------------------


def test_chroot_where_there_is_no_mount_namespace() -> None:
    """With the capability the root is changed by chroot(2); what a view would have shown is lost."""
    kernel = Kernel(landlock_abi=7, capabilities=caps.mask(("CAP_SYS_CHROOT",)), namespace_reason="not here")
    found = plan(("filesystem.read", "/etc"), host=a_host(uid=0), kernel=kernel)
    assert found.plan.view == ((VIEW_CHROOT, 0, b"/", TOP.encode()),)
    assert (found.plan.namespaces, found.plan.cwd) == (0, b"/")
    assert list(rules(found)) == [f"{TOP}/etc"]
    (record,) = [one for one in found.enforcement if one.key == "filesystem.root"]
    assert record.mechanisms == ("chroot",)
    assert "not here" in record.notes[0]
    for word in (("filesystem.tmp", "private"), ("filesystem.home", "private"), ("filesystem.proc", "own")):
        assert "not here" in refusal(word, host=a_host(uid=0), kernel=kernel)
    assert "not here" in refusal(host=a_host(uid=0), kernel=kernel, at={"/mnt": "/data"})


def test_chroot_and_the_capability_to_leave_it() -> None:
    """A command that keeps CAP_SYS_CHROOT is not started in a root that it could leave."""
    kernel = Kernel(
        landlock_abi=7, capabilities=caps.mask(("CAP_SYS_CHROOT", "CAP_SETPCAP")), namespace_reason="not here"
    )
    keep = ("privileges.capabilities", "CAP_SYS_CHROOT")
    assert "could leave" in refusal(keep, host=a_host(uid=0), kernel=kernel)


def test_a_directory_that_is_passed() -> None:
    """Without Landlock nothing keeps the command from walking up from a directory outside."""
    host = a_host()
    found = host.stat("/data")
    assert found is not None
    host.fds[5] = (found, os.O_RDONLY, "/data")
    optional = tuple(f"filesystem.{name}" for name in ("read", "write", "execute"))
    passed = ("process.pass_fds", "5")
    kernel = Kernel(**dict.fromkeys(NAMESPACES, True))
    assert "a way out" in refusal(passed, host=host, kernel=kernel, optional=optional)
    assert plan(passed, host=host).plan.pass_fds == (5,)


@pytest.mark.parametrize("optional", [(), ("filesystem.root",)])
def test_no_way_to_change_the_root(optional: tuple[str, ...]) -> None:
    """Then nothing runs, whatever is optional: the paths would mean other files."""
    text = refusal(kernel=Kernel(landlock_abi=7, namespace_reason="not here"), optional=optional)
    assert "CAP_SYS_CHROOT: not here" in text
    assert "hint: " in text


def test_a_root_that_is_none() -> None:
    """A file or nothing is no root."""
    profile = load(["none"], [("filesystem.root", "/data/secret", "--root")])
    with pytest.raises(ProblemsError, match="not a directory"):
        resolve(profile, Kernel(landlock_abi=7, **dict.fromkeys(NAMESPACES, True)), a_host(), ["/bin/sh"])


@pytest.mark.parametrize(
    ("number", "argument", "says"),
    [(errno.EINVAL, 0, "initramfs"), (errno.EINVAL, 1, ""), (errno.ENOENT, 0, "")],
)
def test_a_root_that_pivot_root_cannot_leave(number: int, argument: int, says: str) -> None:
    """The hint says what is special about an initramfs, at the record that changes the root only."""
    kernel = Kernel(landlock_abi=7, **dict.fromkeys(NAMESPACES, True))
    made = failure.step_failed(plan(kernel=kernel).plan, "make the view", number, argument)
    assert says in (made.hint or "") if says else made.hint is None
