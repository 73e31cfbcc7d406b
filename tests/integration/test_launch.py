"""launch: the command runs as the plan says, or the caller learns why it did not, never something in between."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import stat
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandrun import launch, native, steps
from sandrun.errors import SandrunError
from sandrun.plan.format import (
    KIND_DIRECTORY,
    KIND_FILE,
    Plan,
)
from sandrun.primitives import landlock
from tests.integration.launching import STATUS, Ran, Watch, has_children, launched, proc_status
from tests.support import USER_UID, Who, in_child, need, need_landlock, need_program

if TYPE_CHECKING:
    from collections.abc import Callable


def bpf(*allowed: int, default: int = 0x80000000) -> bytes:
    """A filter that allows these syscall numbers of this machine and answers the rest with `default` (kill)."""
    code = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for number in allowed:
        code.append(struct.pack("HBBI", 0x15, 0, 1, number))
        code.append(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
    return b"".join([*code, struct.pack("HBBI", 0x06, 0, 0, default)])


LAST_STEP_ONLY = {"x86_64": (59, 1, 231), "aarch64": (221, 64, 94)}.get(os.uname().machine, ())
"""execve, write, exit_group."""


def no_execute(*rules: tuple[int, int, bytes]) -> dict[str, object]:
    """The fields of a plan where only these rules let anything be executed."""
    need_landlock(1)
    return {"landlock_abi": 1, "landlock_fs": landlock.FS["execute"], "path_rules": rules}


# --- it runs ---------------------------------------------------------------------------------------------------------


def test_status(who: Who) -> None:
    """The status of the command is what its parent sees, by exit and by signal."""
    assert launched(who, "/bin/true").status == 0
    assert launched(who, "/bin/sh", "-c", "exit 7").status == 7
    assert launched(who, "/bin/sh", "-c", "kill -9 $$").status == -9


def test_words(who: Who) -> None:
    """argv arrives as it is, empty and non-UTF-8 words too, and argv[0] is not the executable."""
    script = b'printf "[%s]" "$0" "$@"'
    ran = launched(who, b"\xffname", "-c", script, "zero", "", b"\xff\n", "a b", executable=b"/bin/sh")
    assert ran.out == b"[zero][][\xff\n][a b]"


def test_many_words(who: Who) -> None:
    """128 kB of arguments pass."""
    ran = launched(who, "/bin/sh", "-c", 'echo "$# ${#100}"', *("x" * 1000 for _ in range(128)))
    assert ran.out == b"127 1000\n"


def test_environment(who: Who) -> None:
    """The command gets the variables that are passed and set and no others; set wins over passed, bytes stay bytes."""

    def before() -> None:
        os.environ.update(SECRET="s", KEPT="kept", BOTH="theirs")
        os.environb[b"RAW"] = b"\xff\xfe"

    ran = launched(
        who,
        need_program("env"),
        "-0",
        env_pass=(b"KEPT", b"BOTH", b"RAW", b"ABSENT"),
        env_set=(b"BOTH", b"OWN"),
        values={b"BOTH": b"ours", b"OWN": b"", b"NOT_IN_THE_PLAN": b"x"},
        before=before,
    )
    assert sorted(ran.out.split(b"\0")) == [b"", b"BOTH=ours", b"KEPT=kept", b"OWN=", b"RAW=\xff\xfe"]


def test_null_byte(who: Who) -> None:
    """A value that C would cut short is refused with the variable's name."""
    ran = launched(who, "/bin/true", env_set=(b"A",), values={b"A": b"x\0y"})
    assert (ran.status, ran.message) == (125, "cannot set A: the value holds a null byte")


def test_signals(who: Who) -> None:
    """The command starts with no signal blocked or ignored, whatever the caller left, the C library's own included."""

    def before() -> None:
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1, signal.SIGTSTP):
            signal.signal(number, signal.SIG_IGN)
        ignore = struct.pack("@QQQQ", 1, 0, 0, 0)
        number = {"x86_64": 13, "aarch64": 134}[os.uname().machine]
        for reserved in (32, 33):
            assert ctypes.CDLL(None).syscall(number, reserved, ignore, None, ctypes.c_size_t(8)) == 0
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())

    need(os.uname().machine in {"x86_64", "aarch64"}, "the number of rt_sigaction")
    control = in_child(lambda: (before(), proc_status(Path("/proc/self/status").read_bytes()))[1], who)
    assert int(control["SigIgn"], 16) & 0x180001000 == 0x180001000
    status = proc_status(launched(who, *STATUS, before=before).out)
    assert (status["SigBlk"], status["SigIgn"], status["SigCgt"]) == ("0" * 16,) * 3


def test_umask_and_nice(who: Who) -> None:
    """umask and nice value are the plan's, and the caller's where it says nothing."""
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    ran = launched(who, "/bin/sh", "-c", "umask; nice", umask=0o27, nice=19)
    assert ran.out == b"0027\n19\n"
    ran = launched(who, "/bin/sh", "-c", "umask; nice", before=lambda: (os.umask(0o31), os.nice(3)))
    assert ran.out == b"0031\n%d\n" % min(mine + 3, 19)


def test_nice_below(who: Who) -> None:
    """Root may lower the nice value although the command keeps no capability; the ordinary user learns why not."""
    ran = launched(who, "/usr/bin/nice", nice=-5)
    if who.is_root:
        assert ran.out == b"-5\n"
    else:
        assert (ran.status, ran.step) == (125, "set umask and nice value")
        assert "CAP_SYS_NICE" in ran.hint


def test_cwd(who: Who, box: Path) -> None:
    """The command starts where the plan says, or where the caller is."""
    assert launched(who, "/bin/pwd", cwd=os.fsencode(box)).out == os.fsencode(box) + b"\n"
    assert launched(who, "/bin/pwd", before=lambda: os.chdir(box)).out == os.fsencode(box) + b"\n"


def test_cwd_out_of_reach(root: Who) -> None:
    """Root cannot put a command of another user into a directory that this user may not reach by itself."""
    inner = root.home / "inner"
    inner.mkdir()
    plan = {"cwd": os.fsencode(inner), "uid": USER_UID, "gid": USER_UID, "set_groups": 1}
    assert launched(root, "/bin/true", cwd=plan["cwd"]).status == 0
    ran = launched(root, "/bin/true", **plan)
    assert (ran.status, ran.step, ran.errno) == (125, "enter the working directory", errno.EACCES)
    assert str(inner) in ran.message


def test_cwd_without_capabilities(root: Who) -> None:
    """Root that keeps no capability may not enter another's closed directory either: the capabilities go first."""
    os.chown(root.home, USER_UID, USER_UID)
    plan = {"cwd": os.fsencode(root.home)}
    override = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert launched(root, "/bin/true", **plan, permitted=override, bounding=override).status == 0
    assert launched(root, "/bin/true", **plan).status == 125


def test_cwd_gone(who: Who, box: Path) -> None:
    """A caller in a deleted directory is nothing to fail for, as long as the plan does not name it."""

    def before() -> None:
        (box / "gone").mkdir()
        os.chdir(box / "gone")
        (box / "gone").rmdir()

    assert launched(who, "/bin/true", before=before).status == 0
    ran = launched(who, "/bin/true", cwd=os.fsencode(box / "gone"))
    assert ran.message == f"cannot enter the working directory: {box}/gone: No such file or directory (ENOENT)"


# --- terminal, session, group ----------------------------------------------------------------------------------------


def ids_of(ran: Ran) -> tuple[int, int, int, int]:
    """pid, parent, process group and session, from `cat /proc/self/stat`."""
    pid, fields = ran.out.split(b" (")[0], ran.out.rpartition(b") ")[2].split()
    return int(pid), int(fields[1]), int(fields[2]), int(fields[3])


def test_process_group(who: Who) -> None:
    """The command shares the caller's group unless the supervisor wants one of its own for it."""

    class Own(Watch):
        own_group = True

    pid, parent, group, session = ids_of(launched(who, "/bin/cat", "/proc/self/stat"))
    assert group != pid
    assert group == os.getpgrp()
    pid, parent, group, session = ids_of(launched(who, "/bin/cat", "/proc/self/stat", watch=Own))
    assert group == pid
    assert session not in (pid, parent)


def test_new_session(who: Who) -> None:
    """new-session: the command leads a session and has no controlling terminal."""

    class Leads(Watch):
        new_session = own_group = True

    pid, _, group, session = ids_of(launched(who, "/bin/cat", "/proc/self/stat", watch=Leads))
    assert (group, session) == (pid, pid)


# --- it cannot be executed -------------------------------------------------------------------------------------------


def script(path: Path, text: str, mode: int = 0o755) -> bytes:
    path.write_text(text)
    path.chmod(mode)
    return os.fsencode(path)


def test_not_found(who: Who) -> None:
    """127, and the name."""
    ran = launched(who, "/nonexistent/command")
    assert (ran.status, ran.error) == (127, "CommandError")
    assert ran.message == "cannot execute /nonexistent/command: No such file or directory (ENOENT)"


def test_not_executable(who: Who, box: Path) -> None:
    """126, and whether it is the file's mode or what the file is."""
    ran = launched(who, script(box / "plain", "true\n", 0o644))
    assert (ran.status, ran.hint) == (126, f"{box}/plain is not executable: chmod +x")
    ran = launched(who, os.fsencode(box))
    assert (ran.status, ran.hint) == (126, f"{box} is no regular file")


def test_no_format(who: Who, box: Path) -> None:
    """126 for a file that nothing can execute; nobody guesses that it is a shell script."""
    ran = launched(who, script(box / "text", "echo not run\n"))
    assert (ran.status, ran.out) == (126, b"")
    assert "ENOEXEC" in ran.message


def test_missing_interpreter(who: Who, box: Path) -> None:
    """126 and not 127: the command is there, its interpreter is not, and is named."""
    ran = launched(who, script(box / "script", "#! /no/such/shell -x\n"))
    assert ran.status == 126
    assert "its interpreter /no/such/shell: No such file or directory (ENOENT)" in ran.message


def test_missing_loader(who: Who, box: Path) -> None:
    """The same for the loader that an ELF program names."""
    data = Path("/bin/true").read_bytes()
    at = data.find(b"/ld-")
    need(at > 0, "a dynamically linked /bin/true")
    (box / "true").write_bytes(data[:at] + b"/xx-" + data[at + 4 :])
    (box / "true").chmod(0o755)
    ran = launched(who, os.fsencode(box / "true"))
    assert ran.status == 126
    assert "/xx-" in ran.message


def test_landlock_denies_the_command(who: Who) -> None:
    """The rule that is missing is named, by the file that the kernel looked at."""
    ran = launched(who, "/bin/true", **no_execute((landlock.FS["execute"], KIND_DIRECTORY, b"/etc")))
    real = os.path.realpath("/bin/true")
    assert (ran.status, ran.hint) == (126, f"no rule lets {real} be executed: --execute {real}")


def test_landlock_denies_the_interpreter(who: Who, box: Path) -> None:
    """Where the script may be executed and its interpreter may not, the interpreter is named."""
    path = script(box / "script", "#!/bin/sh\necho run\n")
    ran = launched(who, path, **no_execute((landlock.FS["execute"], KIND_FILE, path)))
    shell = os.path.realpath("/bin/sh")
    assert (ran.status, ran.hint) == (126, f"no rule lets {shell} be executed: --execute {shell}")


def test_landlock_denies_the_loader(who: Who) -> None:
    """And so for the loader of a program."""
    true = os.path.realpath(b"/bin/true")
    ran = launched(who, true, **no_execute((landlock.FS["execute"], KIND_FILE, true)))
    assert ran.status == 126
    assert "ld-" in ran.hint


# --- the filter and the last step ------------------------------------------------------------------------------------


def test_filter_kills_execve(who: Who) -> None:
    """A filter that kills execve itself is a failure of sandrun, not the command's death by SIGSYS."""
    ran = launched(who, "/bin/true", seccomp=(bpf(),))
    assert (ran.status, ran.error) == (125, "StepError")
    assert ran.message == "cannot execute /bin/true: the child ended before it, by SIGSYS"
    assert "kills execve" in ran.hint


def test_filter_refuses_execve(who: Who) -> None:
    """One that refuses it with an errno is 126, with the reason."""
    ran = launched(who, "/bin/true", seccomp=(bpf(*LAST_STEP_ONLY[1:], default=0x00050001),))
    assert (ran.status, ran.hint) == (126, "the seccomp filter refuses execve")


def test_last_step_needs_three_syscalls(who: Who) -> None:
    """Behind the filter the child uses execve, write and exit_group only: also its failure still gets out."""
    need(LAST_STEP_ONLY, "the numbers of this machine")
    filters = (bpf(*LAST_STEP_ONLY),)
    assert launched(who, "/nonexistent", seccomp=filters).status == 127
    ran = launched(who, "/bin/true", seccomp=filters)
    assert (ran.status, ran.error) == (-signal.SIGSYS, ""), "the command ran, and its loader was killed"


def test_small_limits(who: Who) -> None:
    """The least of every limit stops the command, not the launch of it."""
    limits = [(number, 0, 0) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC)]
    ran = launched(who, "/bin/true", rlimits=tuple(limits))
    assert (ran.status, ran.error) == (127, ""), "the loader ran, and could not open a library"
    assert b"libc" in ran.err
    ran = launched(who, "/bin/true", rlimits=(*limits, (resource.RLIMIT_FSIZE, 0, 0)))
    assert (ran.status, ran.error) == (-signal.SIGXFSZ, ""), "and this one could not even say so"


# --- a step fails ----------------------------------------------------------------------------------------------------


def with_step(name: str, function: Callable[[steps.Job], None]) -> Callable[[], None]:
    """Replace one step of the child, as Python takes it."""

    def before() -> None:
        os.environ[native.VARIABLE] = "python"
        changed = tuple((title, function if title == name else step) for title, step in steps.CHILD_STEPS)
        assert changed != steps.CHILD_STEPS
        steps.CHILD_STEPS = changed

    return before


def fail(job: steps.Job) -> None:
    job.argument = 1
    raise OSError(errno.EIO, "injected")


def lie(job: steps.Job) -> None:
    raise OSError(0, "not as asked")


def die(job: steps.Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def blunder(job: steps.Job) -> None:
    raise ValueError("a bug")


@pytest.mark.parametrize("step", [name for name, _ in steps.CHILD_STEPS[:-1]])
@pytest.mark.parametrize("how", [fail, lie, die, blunder])
def test_every_step(who: Who, step: str, how: Callable[[steps.Job], None], box: Path) -> None:
    """Whichever step fails, however: 125, the step's name, the command did not run, nothing is left behind."""
    need(any(name == step for name, _ in steps.CHILD_STEPS), step)
    marker = box / "ran"
    before_tmp = os.listdir(who.tmp)
    ran = launched(
        who,
        "/bin/sh",
        "-c",
        f"echo x > {marker}",
        before=with_step(step, how),
        private_dirs=(b"TMPDIR", b"HOME"),
    )
    assert (ran.status, ran.error) == (125, "StepError")
    if how is die:
        assert "by SIGKILL" in ran.message
    else:
        assert ran.step == step
        assert ran.message.startswith(f"cannot {step}")
        assert ran.errno == {fail: errno.EIO, lie: 0, blunder: -1}[how]
    assert not marker.exists()
    assert os.listdir(who.tmp) == before_tmp


def test_hints_name_steps() -> None:
    """A hint for a step that is not there would never be shown."""
    from sandrun import failure

    assert {step for step, _ in failure.HINTS} <= {name for name, _ in steps.CHILD_STEPS}


def test_threads(who: Who) -> None:
    """A process with threads is refused: fork would copy only one, and whatever the others held stays locked."""

    def run() -> str:
        event = threading.Event()
        thread = threading.Thread(target=event.wait)
        thread.start()
        try:
            launch.launch(Plan(executable=b"/bin/true", argv=(b"true",)), {}, Watch())
        except SandrunError as error:
            return error.message
        finally:
            event.set()
            thread.join()
        return "launched"

    assert in_child(run, who).startswith("cannot launch: this process has 2 threads")


# --- life and death --------------------------------------------------------------------------------------------------


def dies_with_the_supervisor(plan: Plan) -> bool:
    """Launch from a supervisor, kill that, and see whether the command ends."""
    reader, writer = os.pipe()
    supervisor = os.fork()
    if not supervisor:
        child = launch.launch(plan, {}, Watch())
        os.write(writer, struct.pack("i", child.pid))
        signal.pause()
    (pid,) = struct.unpack("i", os.read(reader, 4))
    pidfd = os.pidfd_open(pid)
    assert not select.select([pidfd], [], [], 0)[0]
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    return bool(select.select([pidfd], [], [], 30)[0])


SLEEP = {"executable": b"/bin/sleep", "argv": (b"sleep", b"1000")}


def test_dies_with_the_supervisor(who: Who) -> None:
    """SIGKILL for the supervisor is SIGKILL for the command."""
    assert in_child(lambda: dies_with_the_supervisor(Plan(**SLEEP)), who)


def test_dies_with_root(root: Who) -> None:
    """Also where the command is another user's: the change of uid would clear what was set before it."""
    plan = Plan(**SLEEP, uid=USER_UID, gid=USER_UID, set_groups=1)
    assert in_child(lambda: dies_with_the_supervisor(plan), root)


def test_supervisor_gone(who: Who) -> None:
    """A child whose parent is no longer the supervisor gives up instead of running unsupervised."""

    def before() -> None:
        pid = os.fork()
        if not pid:
            os._exit(0)
        ended, pidfd_open = os.pidfd_open(pid), os.pidfd_open
        os.waitpid(pid, 0)
        os.pidfd_open = lambda pid: os.dup(ended) if pid == os.getpid() else pidfd_open(pid)

    ran = launched(who, "/bin/true", before=before)
    assert (ran.step, ran.errno) == ("die with the supervisor", errno.ESRCH)


def test_pidfd(who: Who) -> None:
    """The pidfd is the command's and closed on exec."""

    def run() -> tuple[int, int, bool]:
        child = launch.launch(Plan(executable=b"/bin/true", argv=(b"true",)), {}, Watch())
        end = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
        assert end is not None
        return end.si_pid - child.pid, fcntl.fcntl(child.pidfd, fcntl.F_GETFD), has_children()

    assert in_child(run, who) == (0, fcntl.FD_CLOEXEC, False)


# --- private directories ---------------------------------------------------------------------------------------------


def test_private_directories(who: Who) -> None:
    """Each variable names a fresh directory of the command's user alone, inside the caller's TMPDIR."""
    need_landlock(3)
    text = 'stat -c "%a %u %g %n" "$TMPDIR" "$HOME"; echo x >"$TMPDIR/f" && cat "$TMPDIR/f" && rm "$TMPDIR/f"'
    uid = USER_UID if who.is_root else who.uid
    fields = {"uid": uid, "gid": uid, "set_groups": 1} if who.is_root else {}
    ran = launched(
        who,
        "/bin/sh",
        "-c",
        text,
        env_pass=(b"PATH", b"HOME"),
        private_dirs=(b"TMPDIR", b"HOME"),
        private_access=landlock.WRITE & landlock.fs_mask(3),
        landlock_abi=3,
        landlock_fs=landlock.fs_mask(3),
        path_rules=((landlock.EXECUTE, KIND_DIRECTORY, b"/usr"), *system_rules()),
        before=lambda: os.chmod(who.tmp, 0o711),
        **fields,
    )
    lines = ran.out.decode().splitlines()
    assert (ran.status, lines[2:]) == (0, ["x"]), ran
    assert [line.rpartition(" ")[0] for line in lines[:2]] == [f"700 {uid} {uid}"] * 2
    paths = [line.rpartition(" ")[2] for line in lines[:2]]
    assert paths[0] != paths[1]
    assert all(path.startswith(f"{who.tmp}/sandrun-") for path in paths)


def system_rules() -> list[tuple[int, int, bytes]]:
    """Rules for what /bin/sh needs on distributions that don't have it all in /usr."""
    found = {os.path.realpath(path) for path in (b"/bin", b"/lib", b"/lib64") if os.path.exists(path)}
    return [(landlock.EXECUTE, KIND_DIRECTORY, path) for path in sorted(found)]


def test_private_elsewhere(who: Who) -> None:
    """A TMPDIR that is relative or not there is not used; /tmp is."""
    for value in ("relative", "/nonexistent"):
        ran = launched(
            who,
            "/bin/sh",
            "-c",
            "echo $TMPDIR",
            private_dirs=(b"TMPDIR",),
            before=lambda value=value: os.environ.update(TMPDIR=value),
        )
        assert ran.out.startswith(b"/tmp/sandrun-")


def test_private_cannot_be_made(who: Who, box: Path) -> None:
    """One that cannot be made is an error that names it, and none is left."""
    if who.is_root:
        box = box / "file"
        box.write_text("")
        before = lambda: setattr(os.path, "isdir", lambda path: True) or os.environ.update(TMPDIR=str(box))  # noqa: E731
    else:
        box.chmod(0o500)
        before = lambda: os.environ.update(TMPDIR=str(box))  # noqa: E731
    ran = launched(who, "/bin/true", private_dirs=(b"HOME",), before=before)
    assert ran.status == 125
    assert ran.message.startswith(f"cannot make a private HOME: {box}/sandrun-")


# --- create ----------------------------------------------------------------------------------------------------------


def test_create(who: Who, box: Path) -> None:
    """A target with a final "/" is a directory with its parents, one without an empty file; what is there stays."""
    (box / "kept").write_text("old")
    who.own(box / "kept")
    targets = tuple(os.fsencode(box) + name for name in (b"/a/b/c/", b"/new", b"/kept", b"/a/\xff"))
    assert launched(who, "/bin/true", create=targets, umask=0o27).status == 0
    assert (box / "a/b/c").is_dir()
    assert stat.S_IMODE((box / "a").stat().st_mode) == 0o750
    assert stat.S_IMODE((box / "new").stat().st_mode) == 0o640
    assert (box / "kept").read_text() == "old"
    assert {path.stat().st_uid for path in (box / "a", box / "new")} == {who.uid}
    assert os.path.isfile(targets[3])


def test_create_as_the_commands_user(root: Who) -> None:
    """Root makes a target for the command's user as that user: owned by it, and only where it may."""
    box = root.home.parent
    user = {"uid": USER_UID, "gid": USER_UID, "set_groups": 1}
    ran = launched(root, "/bin/true", create=(os.fsencode(box / "x"),), **user)
    assert (ran.status, ran.message) == (125, f"cannot create {box}/x: Permission denied (EACCES)")
    os.chown(box, USER_UID, USER_UID)
    assert launched(root, "/bin/true", create=(os.fsencode(box / "x"),), **user).status == 0
    assert (box / "x").stat().st_uid == USER_UID


@pytest.mark.parametrize("target", ["link/x", "link/", "link/sub/"])
def test_create_through_a_link(who: Who, box: Path, target: str) -> None:
    """A symbolic link on the way is refused: whoever put it there would choose the place."""
    (box / "elsewhere").mkdir()
    (box / "link").symlink_to(box / "elsewhere")
    who.own(box / "elsewhere", box / "link")
    ran = launched(who, "/bin/true", create=(os.fsencode(box) + b"/" + target.encode(),))
    assert (ran.status, "cannot create" in ran.message) == (125, True)
    assert not os.listdir(box / "elsewhere")


def test_create_never_through_a_dangling_link(who: Who, box: Path) -> None:
    """A link in the place of the file itself does not make its target, and is then refused as a grant."""
    need_landlock(1)
    (box / "link").symlink_to(box / "elsewhere")
    path = os.fsencode(box / "link")
    ran = launched(
        who,
        "/bin/true",
        create=(path,),
        landlock_abi=1,
        landlock_fs=landlock.fs_mask(1),
        path_rules=((landlock.READ, KIND_FILE, path),),
    )
    assert (ran.status, "ELOOP" in ran.message) == (125, True)
    assert not (box / "elsewhere").exists()
