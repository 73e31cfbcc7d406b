"""Another directory as the root: what the command sees is in it, and nothing of the host is."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.integration.supervised import wait_until
from tests.integration.test_namespaces import WITHOUT, mounts
from tests.integration.viewing import see
from tests.integration.workspaces import contents
from tests.support import need_landlock, need_namespaces, need_program, need_root, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.support import Who

APPLETS = ("sh", "ls", "cat", "id", "pwd", "readlink", "mount", "find", "mkdir", "touch", "ln", "wc")
LINKS = """
ln -s /etc absolute
ln -s ../../../../../../../../../../../../etc dotdot
ln -s {box}/outside named
ln -s /proc/1/root init
ln -s loop loop
echo inside >etc/here; echo root:x:0:0:inside:/:/bin/sh >etc/passwd
echo secret >{box}/outside/secret; echo shown >{box}/data/shown
"""


@pytest.fixture
def root(who: Who, box: Path) -> Iterator[Path]:
    """A small root from busybox, with links of every kind; untouched when the test is over."""
    need_namespaces(who)
    need_landlock(1)
    busybox = need_program("busybox")
    top = box / "root"
    for name in ("bin", "etc", "dev", "proc", "tmp", "mnt", "home/u", "work"):
        (top / name).mkdir(parents=True)
    (box / "outside").mkdir()
    (box / "data").mkdir()
    shutil.copy(busybox, top / "bin/busybox")
    for name in APPLETS:
        (top / "bin" / name).symlink_to("busybox")
    who.own(*(path for path in box.rglob("*")))
    who.run(["sh", "-euc", LINKS.format(box=box)], cwd=top, check=True)
    before, mounted = contents(box), mounts()
    yield top
    (top / "work/made").unlink(missing_ok=True)
    after = contents(box)
    for tree in (before, after):
        for name in [name for name in tree if str(name).endswith("work")]:
            tree.pop(name)
    assert after == before, "nothing is made on the host but what the command may write"
    wait_until(lambda: not mounts() - mounted)  # what comes and goes is somebody else's


def run(who: Who, root: Path, script: str, *words: str | Path, **options: object) -> CompletedProcess[str]:
    """Run a script of shell in the root, which it may read and execute."""
    flags = ("-p", "none", "--root", root, "-r", "/", "-x", "/", *words)
    return sandrun(*flags, "--", "/bin/sh", "-c", script, who=who, **options)


def test_only_the_root_is_seen(who: Who, root: Path) -> None:
    """The command starts at the root's top, sees its files by their names there, and no file of the host's."""
    done = run(who, root, f"pwd; ls / | wc -l; cat /etc/here; ls {root}")
    assert done.stdout.split() == ["/", str(len(list(root.iterdir()))), "inside"]
    assert "No such file" in done.stderr
    assert done.returncode == 1


def test_links_stay_inside(who: Who, root: Path) -> None:
    """Absolute links, links of dots and links to the host by name lead to what is inside, or nowhere."""
    for path in ("/absolute/here", "/dotdot/here", "/../../../etc/here", "/mnt/../../etc/here"):
        assert run(who, root, f"cat {path}").stdout == "inside\n"
    for path in ("/named/secret", "/init/etc/here", "/loop", "/dotdot/../named/secret"):
        done = run(who, root, f"cat {path}")
        assert (done.returncode, done.stdout) == (1, ""), path


def test_grants_mean_what_is_inside(who: Who, root: Path) -> None:
    """A grant is of the file inside, whatever the host has by that name; the rest of the root stays closed."""
    flags = ("-p", "none", "--root", root, "-x", "/bin", "-r", "/absolute/here", "-w", "/work")
    script = "cat /etc/here; echo x >/work/made && cat /work/made; cat /etc/passwd || echo closed; echo y >/etc/here || echo kept"
    done = sandrun(*flags, "--", "/bin/sh", "-c", script, who=who)
    assert done.stdout.split() == ["inside", "x", "closed", "kept"]
    assert (root / "work/made").read_text() == "x\n"


def test_denied_inside(who: Who, root: Path) -> None:
    """What is denied is the file inside."""
    done = run(who, root, "cat /etc/here; echo; cat /etc/passwd", "--deny", "/etc/here")
    assert done.stdout == "\nroot:x:0:0:inside:/:/bin/sh\n"


def test_nothing_of_the_host_is_mounted(who: Who, root: Path) -> None:
    """Neither the mounts nor the root of any process show the host's tree."""
    words = ("--proc", "own", "--isolate", "true", "--tmp", "private", "--dev", "minimal")
    script = "cat /proc/mounts; for p in /proc/[0-9]*; do readlink $p/root; readlink $p/cwd; ls $p/root/outside; done"
    done = run(who, root, script, *words)
    points = {line.split()[1] for line in done.stdout.splitlines() if " " in line}
    assert {"/", "/proc", "/tmp", "/dev"} <= points
    assert all(point in ("/", "/proc", "/tmp") or point.startswith("/dev") for point in points)
    links = {line for line in done.stdout.splitlines() if " " not in line}
    assert links == {"/"}


def test_places(who: Who, root: Path) -> None:
    """tmp, home, proc and dev are put on the root's directories: a device works, and nothing stays."""
    words = ("--proc", "own", "--isolate", "true", "--tmp", "private", "--dev", "minimal", "--home", "private")
    script = 'echo x >/tmp/x && cat /tmp/x; echo y >~/y && cat ~/y; echo z >/dev/null && echo ok; echo "$TMPDIR $HOME"'
    done = run(who, root, script, *words, env=who.env | {"HOME": "/home/u"})
    assert done.stdout.split() == ["x", "y", "ok", "/tmp", "/home/u"], done.stderr


def test_places_that_the_root_lacks(who: Who, root: Path) -> None:
    """A missing mount point is not made: the place is left out and noted, or refused where it was asked for by name."""
    for name in ("tmp", "proc", "dev"):
        (root / name).rmdir()
    try:
        done = run(who, root, "ls /", "--tmp", "private", "--proc", "own", "--isolate", "true")
        assert done.returncode == 0
        assert not {"tmp", "proc", "dev"} & set(done.stdout.split())
        refused = run(who, root, "ls /", "--dev", "minimal")
        assert refused.returncode == 125
        assert "no directory /dev" in refused.stderr
        assert "hint: make an empty one" in refused.stderr
    finally:
        for name in ("tmp", "proc", "dev"):
            (root / name).mkdir()
            who.own(root / name)


def profile(box: Path, at: str, path: Path, access: str = '"read_file", "read_dir"') -> Path:
    text = f'schema = 1\n[filesystem]\nrules = [{{path = "{path}", access = [{access}], at = "{at}"}}]\n'
    found = box.parent / f"{box.name}.toml"
    found.write_text(text)
    found.chmod(0o644)
    return found


def test_something_of_the_host_shown_inside(who: Who, root: Path, box: Path) -> None:
    """A rule with `at` brings a directory of the host in, read-only; a link in it leads to what is inside."""
    (box / "data/link").symlink_to("/etc/here")
    file = profile(box, "/mnt", box / "data")
    try:
        done = run(who, root, "cat /mnt/shown /mnt/link; echo x >/mnt/new || echo kept", "-p", file)
        assert done.stdout.split() == ["shown", "inside", "kept"], done.stderr
        denied = run(who, root, "cat /mnt/shown; ls /mnt", "-p", file, "--deny", "/mnt/shown")
        assert "shown" not in denied.stdout.split()[:1] or denied.stdout.split() == ["link", "shown"]
        assert denied.stdout.count("shown") == 1
    finally:
        file.unlink()
        (box / "data/link").unlink()


def test_at_without_a_mount_point(who: Who, root: Path, box: Path) -> None:
    """Where nothing stands to be mounted on, nothing is made for it."""
    file = profile(box, "/absent", box / "data")
    try:
        done = run(who, root, "ls /absent", "-p", file)
    finally:
        file.unlink()
    assert done.returncode == 125
    assert "nothing to mount on: /absent" in done.stderr
    assert "hint: " in done.stderr


def test_the_command_of_the_host_is_not_found(who: Who, root: Path) -> None:
    """The command is looked for inside; so is its loader, whose absence is warned of."""
    done = sandrun("-p", "none", "--root", root, "-x", "/", "--", "/usr/bin/env", who=who)
    assert done.returncode == 127
    shutil.copy(need_program("true"), root / "bin/dynamic")
    try:
        done = sandrun("-p", "none", "--root", root, "-x", "/", "--", "/bin/dynamic", who=who)
    finally:
        (root / "bin/dynamic").unlink()
    assert done.returncode == 127
    assert "which is absent" in done.stderr
    assert "is not there in the root" in done.stderr


def test_the_working_directory(who: Who, root: Path) -> None:
    """--cwd is a path inside, and relative grants start there."""
    done = run(who, root, "pwd; echo x >made", "--cwd", "/work", "-w", ".")
    assert (done.returncode, done.stdout) == (0, "/work\n"), done.stderr
    assert (root / "work/made").exists()


def test_the_default_profile(who: Who, root: Path) -> None:
    """It works in a root too, once it is said where in there the project is."""
    words = ("--root", root, "-x", "/bin", "--cwd", "/work")
    done = sandrun(*words, "--", "/bin/sh", "-c", "pwd; echo x >made; echo y >/dev/null", who=who)
    assert (done.returncode, done.stdout) == (0, "/work\n"), done.stderr
    refused = sandrun("--root", root, "-x", "/bin", "--", "/bin/sh", who=who)
    assert refused.returncode == 125
    assert "--cwd DIR" in refused.stderr


def test_overlay(who: Who, root: Path) -> None:
    """Changes of a directory inside go to a workspace, and the root keeps its own."""
    words = ("--overlay", "/etc", "--on-exit", "discard")
    env = who.env | {"XDG_STATE_HOME": str(who.home / "state")}
    done = run(who, root, "echo x >/etc/here; cat /etc/here", *words, env=env)
    assert done.stdout.splitlines()[:1] == ["x"], done.stderr
    assert (root / "etc/here").read_text() == "inside\n"


def test_the_root_of_the_host(who: Who, root: Path) -> None:
    """`/` is a root like another one."""
    done = sandrun("-p", "none", "--root", "/", "-r", "@all", "-x", "@all", "--", "cat", root / "etc/here", who=who)
    assert (done.returncode, done.stdout) == (0, "inside\n"), done.stderr


def test_without_landlock_it_is_still_the_root(root: Path, box: Path, who: Who) -> None:
    """The mounts alone keep the root read-only."""
    words = ["-p", "none", "--root", "/", "-r", "/", "-x", "/", "--optional", "filesystem.read"]
    write = f"write({str(root / 'etc/here')!r})"
    seen = see(who, box, *words, "--optional", "filesystem.execute", without="landlock", write=write)
    assert seen.found == {"write": "EROFS"}


# --- where there is no mount namespace -------------------------------------------------------------------------------


def test_chroot(root: Path, who: Who) -> None:
    """Root without CAP_SYS_ADMIN, as in a container, gets there by chroot(2), and that is recorded."""
    need_root()
    if not who.is_root:
        pytest.skip("an ordinary user has no capability")
    bare = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    words = [*bare, "unshare", "--user", "--map-root-user", "true"]
    if who.run(words).returncode == 0:
        limit = ["unshare", "--user", "--map-root-user", "sh", "-c", f"{CHROOT_ONLY}", "sh"]
    else:
        limit = bare
    script = "pwd; cat /dotdot/here; cat /named/secret; echo x >/etc/new"
    flags = ["-p", "none", "--root", str(root), "-r", "/", "-x", "/"]
    done = who.run([*limit, *who.sandrun, *flags, "--", "/bin/sh", "-c", script])
    assert done.stdout.split() == ["/", "inside"], done.stderr
    shown = who.run([*limit, *who.sandrun, "--dry-run", *flags, "--", "/bin/sh"]).stdout
    assert "filesystem.root: enforced by chroot" in shown
    for word in (("--tmp", "private"), ("--proc", "own"), ("--overlay", "/etc")):
        refused = who.run([*limit, *who.sandrun, *flags, *word, "--", "/bin/sh"])
        assert refused.returncode == 125
        assert "hint: " in refused.stderr


CHROOT_ONLY = (
    'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$@"'
)
"""In a user namespace that makes no others, without the capability that mount namespaces take."""


def test_no_way_to_change_the_root(root: Path, who: Who) -> None:
    """With neither a mount namespace nor the capability nothing runs, and the reason and the remedy are said."""
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", WITHOUT, "sh", *who.sandrun]
    done = who.run([*words, "-p", "none", "--root", root, "-r", "/", "-x", "/", "--", "/bin/sh", "-c", "echo ran"])
    assert (done.returncode, done.stdout) == (125, "")
    assert "user.max_user_namespaces is 0" in done.stderr
    assert "CAP_SYS_CHROOT" in done.stderr
    assert "hint: " in done.stderr
    assert os.path.isdir(root)
