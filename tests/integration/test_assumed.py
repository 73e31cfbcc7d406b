"""A launch takes for granted that namespaces can be had: what happens where that is wrong, and that nothing shows it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import kernel as kernels
from sandrun import launch, libc
from sandrun.cli import options, run
from sandrun.errors import StepError
from sandrun.kernel import assume_namespaces, probe, with_namespaces
from tests.support import (
    Who,
    in_child,
    need_landlock,
    need_namespaces,
    need_program,
    need_root,
    need_userns,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SHOW = "readlink /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/ipc; ls -d /proc/[0-9]* | wc -l"
LESS = 'exec setpriv --bounding-set -all --ambient-caps -all --inh-caps -all "$@"'
CAN_BE_ASSUMED = ("-p", "none", "--execute", "@all", "--write", "@all", "--isolate", "true")


def project(who: Who) -> Path:
    """A directory below the home, to start in."""
    folder = who.home / "project"
    folder.mkdir(exist_ok=True)
    who.own(folder)
    return folder


def enter_domain() -> None:
    """A Landlock domain, which forbids to mount, and no filter, by which it could be known."""
    ruleset = libc.landlock_create_ruleset((1 << 6).to_bytes(8, "little"))
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.landlock_restrict_self(ruleset)


def in_domain(who: Who, *words: str) -> subprocess.CompletedProcess[str]:
    """Run sandrun where the assumption is wrong."""
    need_landlock(6)
    cwd = project(who)

    def go() -> subprocess.CompletedProcess[str]:
        enter_domain()
        return subprocess.run([*who.sandrun, *words], capture_output=True, text=True, check=False, env=who.env, cwd=cwd)

    done: subprocess.CompletedProcess[str] = in_child(go, who)
    return done


@contextlib.contextmanager
def same_below(folder: Path) -> Iterator[None]:
    """Nothing is left in a directory by what is done meanwhile."""
    before = sorted(os.listdir(folder))
    yield
    assert sorted(os.listdir(folder)) == before


def test_wrong_in_a_landlock_domain(who: Who) -> None:
    """The command runs in the caller's namespaces, and the record names none; it ran once and nothing is left."""
    need_namespaces(who)
    report = who.home / "report.json"
    count = project(who) / "count"
    with same_below(who.tmp):
        done = in_domain(who, "--report", str(report), "--", "sh", "-c", f"echo >>count; {SHOW}")
    assert done.returncode == 0, done.stderr
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "ipc")]
    assert done.stdout.split()[:3] == host
    assert count.read_text() == "\n"
    said = json.loads(report.read_text())["protections"]
    assert not [one for one in said if any("namespace" in mechanism for mechanism in one["mechanisms"])]
    isolate = next(one for one in said if one["key"] == "process.isolate")
    assert isolate["state"] != "enforced"
    assert "an outer sandbox" in isolate["lost"][0]
    warnings = done.stderr.splitlines()
    assert len(warnings) == len(set(warnings))
    assert any("process.isolate" in line for line in warnings)


def test_same_record_as_without(who: Who) -> None:
    """Where the assumption is wrong, the record is the one that a dry run gives, which tries the namespaces first."""
    need_namespaces(who)
    report = who.home / "report.json"
    assert in_domain(who, "-q", "--report", str(report), "--", "true").returncode == 0
    launched = json.loads(report.read_text())
    report.unlink()
    assert in_domain(who, "-q", "--dry-run", "--report", str(report), "--", "true").returncode == 0
    assert launched["protections"] == json.loads(report.read_text())["protections"]


def test_required_and_wrong(who: Who) -> None:
    """What the profile requires is not left out for it: 125, the reason, and no file of the launch."""
    need_namespaces(who)
    with same_below(who.tmp):
        done = in_domain(who, *CAN_BE_ASSUMED, "--", "sh", "-c", f"echo >{who.home}/ran")
    assert done.returncode == 125
    assert "an outer sandbox" in done.stderr
    assert not (who.home / "ran").exists()


def test_partly_wrong(who: Who) -> None:
    """Where proc(5) cannot be mounted, the mount namespace stays and the pid namespace does not, as the record says."""
    if who.is_root:
        pytest.skip("root of an outer user namespace is another case")
    need_userns()
    need_program("setpriv")
    outer = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c"]
    report = who.home / "report.json"
    words = [*who.sandrun, "--report", str(report), "--", "sh", "-c", SHOW]
    done = who.run(
        [*outer, f"readlink /proc/self/ns/mnt; mount -t tmpfs none /proc/sys && {LESS}", "sh", *words], cwd=project(who)
    )
    assert done.returncode == 0, done.stderr
    outside, *inside = done.stdout.split()
    assert inside[0] not in (outside, os.readlink("/proc/self/ns/mnt"))
    assert inside[1] == os.readlink("/proc/self/ns/pid")
    said = {name for one in json.loads(report.read_text())["protections"] for name in one["mechanisms"]}
    assert "mount" in said
    assert "pid namespace" not in said


def test_wrong_in_a_changed_root(who: Who) -> None:
    """After chroot(2) no user namespace can be made, which nothing shows before."""
    need_root()
    need_namespaces(who)
    if who.is_root:
        pytest.skip("root needs no user namespace")
    place = who.home / "root"
    place.mkdir()
    report = who.home / "report.json"
    user = [need_program("setpriv"), f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
    words = [*user, *who.sandrun, "-q", "--report", str(report), "--", "sh", "-c", SHOW]
    script = f'mount --rbind / {place} && exec chroot {place} sh -c \'cd {project(who)} && exec "$@"\' sh "$@"'
    outer = [need_program("unshare"), "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    done = subprocess.run([*outer, *words], capture_output=True, text=True, check=False, env=who.env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == os.readlink("/proc/self/ns/pid")
    said = {name for one in json.loads(report.read_text())["protections"] for name in one["mechanisms"]}
    assert not {"mount", "pid namespace"} & said


def test_one_start_is_told(who: Who) -> None:
    """Programs that read the events see one start, of the command that runs, and before it the plan that holds."""
    need_namespaces(who)
    need_landlock(6)
    cwd = project(who)

    def go() -> list[str]:
        reader, writer = os.pipe()
        enter_domain()
        words = [*who.sandrun, "-q", "--status-fd", str(writer), "--", "true"]
        subprocess.run(words, check=True, pass_fds=(writer,), env=who.env, cwd=cwd)
        return [json.loads(line)["event"] for line in os.read(reader, 65536).splitlines()]

    assert in_child(go, who) == ["planned", "planned", "exec", "exit"]


def test_both_plans_are_shown(who: Who) -> None:
    """`--verbose` says that the first plan does not hold before it shows the second."""
    need_namespaces(who)
    said = in_domain(who, "--verbose", "--", "true").stderr
    first, _, second = said.partition("sandrun: planned again")
    by = re.compile(r"(?:enforced|partial) by .*pid namespace")
    assert by.search(first)
    assert second
    assert not by.search(second)


@pytest.mark.parametrize("step", ["execute", "enter the working directory"])
def test_another_failure_stands(who: Who, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """What fails for another reason is told as it is, and not tried again; what may have run is not in any case."""
    need_namespaces(who)
    started: list[int] = []
    error = StepError(step, 13, "cannot")
    if step == "execute":
        monkeypatch.setattr(kernels, "with_namespaces", lambda kernel: kernel._replace(pidns=False))

    def fail(*_: object) -> None:
        started.append(1)
        raise error

    monkeypatch.setattr(launch, "launch", fail)

    def go() -> tuple[bool, int]:
        try:
            run.main(["-q", *CAN_BE_ASSUMED, "--", "/bin/true"])
        except StepError as caught:
            return caught is error, len(started)
        return False, 0

    assert in_child(go, who) == (True, 1)


@pytest.mark.parametrize("processes", [0, 1, 2])
@pytest.mark.parametrize("option", ["-q", "--dry-run"])
def test_too_few_processes(who: Who, processes: int, option: str) -> None:
    """A user who may not start what it takes is told so, whoever finds out."""
    need_userns()
    if who.is_root:
        pytest.skip("root may start as many as it likes")
    limited = [need_program("prlimit"), f"--nproc={processes}"]
    done = who.run([*limited, *who.sandrun, option, *CAN_BE_ASSUMED, "--", "true"])
    assert done.returncode == 125
    assert "EAGAIN" in done.stderr or "as many processes" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "assumed"),
    [
        ((), True),
        (("--tty", "pty"), False),
        (("--create", "new"), False),
        (("--require", "mountns"), False),
        (("--overlay", "."), False),
        (("--namespace", "user"), False),
    ],
)
def test_what_may_be_assumed(who: Who, words: Sequence[str], assumed: bool) -> None:
    """Only a launch that makes nothing before its namespaces may find out by failing; others try them first."""
    need_namespaces(who)
    cwd = project(who)

    def go() -> tuple[bool, bool, bool]:
        os.chdir(cwd)
        os.environ["HOME"] = str(who.home)
        request = options.parse([*CAN_BE_ASSUMED, *words, "--", "/bin/true"])
        found = run.prepare(request, request.command, assume=True)
        sure = run.prepare(request, request.command)
        return found.assumed, sure.assumed, found.resolution.enforcement == sure.resolution.enforcement

    assert in_child(go, who) == (assumed, False, True)


def test_a_control_group_is_not_assumed() -> None:
    """It is made before, so its launch tries the namespaces first."""
    need_root()
    request = options.parse(["-p", "none", "--execute", "@all", "--tmp", "private", "--pids", "99", "--", "/bin/true"])

    def go() -> tuple[bool, int]:
        found = run.prepare(request, request.command, assume=True)
        return found.assumed, found.resolution.plan.cgroup_way

    assumed, way = in_child(go)
    assert assumed == (not way)


# --- the guess -------------------------------------------------------------------------------------------------------


def test_the_guess_is_right_here(who: Who) -> None:
    """Where all namespaces work it is what trying finds."""
    need_namespaces(who)

    def go() -> bool:
        kernel = probe()
        return assume_namespaces(kernel) == with_namespaces(kernel)

    assert in_child(go, who)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user.max_user_namespaces", "0"),
        ("user.max_user_namespaces", ""),
        ("kernel.unprivileged_userns_clone", "0"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ],
)
def test_no_guess_against_a_sysctl(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """What can be read is not ignored; root, who needs no user namespace, is not concerned."""
    allowed = {"user.max_user_namespaces": "1000"}
    ordinary = probe()._replace(capabilities=0, uid=1234)
    monkeypatch.setattr(libc, "prctl", lambda *_: 0)
    monkeypatch.setattr(kernels, "_sysctl", lambda asked: allowed.get(asked, ""))
    assert assume_namespaces(ordinary)
    monkeypatch.setattr(kernels, "_sysctl", lambda asked: {**allowed, name: value}.get(asked, ""))
    assert assume_namespaces(ordinary) is None
    assert assume_namespaces(ordinary._replace(capabilities=2**41 - 1, uid=0))


def test_no_guess_below_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter may kill whoever asks for a namespace."""
    monkeypatch.setattr(libc, "prctl", lambda *_: kernels.FILTERING)
    assert assume_namespaces(probe()) is None


def test_no_guess_for_a_kernel_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of which the kernel shows no file is not there."""
    monkeypatch.setattr(libc, "prctl", lambda *_: 0)
    monkeypatch.setattr(kernels, "_sysctl", lambda _: "1000" if _.startswith("user") else "")
    listed: Callable[[str], Any] = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [name for name in listed(path) if name != "time"])
    assert assume_namespaces(probe()) is None
