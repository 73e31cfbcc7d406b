"""Labels of AppArmor and SELinux: in force for the command, or it does not run.

The tests with a profile run where the kernel has AppArmor, as Debian's has in `make test-kernels`.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandrun import native
from sandrun.kernel import probe
from sandrun.primitives import label
from tests.integration.launching import launched
from tests.support import CHECKOUT, Who, need, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = f"srtest-label-{os.getpid()}"
PROFILE = f"""profile {NAME} flags=(attach_disconnected) {{
  signal,
  /** rwmix,
  deny /etc/hostname r,
}}
"""
CURRENT = "/proc/self/attr/apparmor/current"
OPTIONS = ("-q", "-p", "none", "--read", "/", "--execute", "/")


def need_apparmor() -> None:
    """Few machines can have both their own kernel and this module: `make test-kernels` has a kernel with it."""
    if "apparmor" not in probe().labels:
        pytest.skip("AppArmor is not in force on this kernel")


@pytest.fixture
def loaded(root: Who) -> Iterator[str]:
    """A profile that may read everything but one file, loaded as long as the test runs."""
    need_apparmor()
    unpacked = CHECKOUT / "build" / "apparmor" / "sbin" / "apparmor_parser"
    parser = next((path for path in (unpacked, Path("/usr/sbin/apparmor_parser")) if path.exists()), None)
    need(parser, "apparmor_parser is not installed")
    words = [str(parser), "--skip-cache", "--quiet"]
    subprocess.run([*words, "--replace"], input=PROFILE, text=True, check=True)
    yield NAME
    subprocess.run([*words, "--remove"], input=PROFILE, text=True, check=True)


def test_a_module_that_is_not_there(who: Who) -> None:
    """Without the module nothing runs, also when a plan asks for it that was made elsewhere."""
    for module, path in (("apparmor", label.APPARMOR), ("selinux", label.SELINUX)):
        if module in probe().labels:
            continue
        done = sandrun("-q", f"--{module}", "x", "--", "true", who=who, cwd="/usr")
        assert (done.returncode, "is not in force" in done.stderr) == (125, True)
        if not os.path.exists(path):
            ran = launched(who, "/bin/true", **{module: b"x"})
            assert "cannot label the command" in ran.message


def test_a_label_that_the_kernel_does_not_take(who: Who) -> None:
    """What the module does not know, or is not there to know, is refused by the step that writes it."""
    need(os.path.exists(label.SELINUX), "this kernel has no security module with labels")
    need("selinux" not in probe().labels, "SELinux may know any context")
    ran = launched(who, "/bin/true", selinux=b"no such context")
    assert ran.step == "set the security label"
    assert "no such context" in ran.message


def test_a_file_that_the_child_cannot_open(who: Who) -> None:
    """Its own file is opened by a step, and the command does not run without it."""
    need(os.path.exists(label.SELINUX), "this kernel has no security module with labels")

    def refuse(_: label.Labels, *, detached: bool) -> None:
        raise OSError(errno.EIO, "")

    def before() -> None:
        os.environ[native.VARIABLE] = "python"
        label.Labels.open = refuse  # type: ignore[method-assign]

    ran = launched(who, "/bin/true", before=before, selinux=b"x")
    assert (ran.step, ran.errno) == ("open the security label", errno.EIO)


def test_a_profile_that_is_not_loaded(who: Who) -> None:
    """Root reads the list; an ordinary user finds out by trying. Neither runs."""
    need_apparmor()
    done = sandrun(*OPTIONS, "--apparmor", "srtest-no-such", "--", "true", who=who, cwd="/usr")
    assert done.returncode == 125
    assert "apparmor_parser" in done.stderr


def test_the_command_gets_the_profile(who: Who, loaded: str) -> None:
    """Its label is the profile's, and what the profile denies is denied although everything else grants it."""
    done = sandrun(*OPTIONS, "--apparmor", loaded, "--", "cat", CURRENT, who=who, cwd="/usr")
    assert done.stdout.strip() == f"{NAME} (enforce)", done.stderr
    done = sandrun(*OPTIONS, "--apparmor", loaded, "--", "cat", "/etc/hostname", who=who, cwd="/usr")
    assert (done.returncode, "Permission denied" in done.stderr) == (1, True)
    assert sandrun(*OPTIONS, "--", "cat", "/etc/hostname", who=who, cwd="/usr").returncode == 0


def test_the_profile_holds_in_namespaces(who: Who, loaded: str) -> None:
    """The descriptor is opened before the view hides /proc."""
    words = (*OPTIONS, "--isolate", "true", "--proc", "own", "--tmp", "private", "--optional", "process.isolate")
    words = (*words, "--optional", "filesystem.proc", "--optional", "filesystem.tmp", "--apparmor", loaded)
    done = sandrun(*words, "--", "cat", CURRENT, who=who, cwd="/usr")
    assert done.stdout.strip() == f"{NAME} (enforce)", done.stderr
