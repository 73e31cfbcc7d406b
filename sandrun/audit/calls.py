"""State of the kernel that syscalls change, and what keeps each apart from the command. Data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sandrun.policy.guards import CLONE_NEW

if TYPE_CHECKING:
    from sandrun.audit.questions import Call

OTHER_PID = 4_000_000  # close to the kernel's greatest pid_max: stands for a process that is not the caller
NEW_USER = CLONE_NEW["CLONE_NEWUSER"]


class Row(NamedTuple):
    """State of the kernel that syscalls change. Every call must be refused, or a namespace or a lack keep it apart."""

    topic: str
    name: str
    calls: tuple[Call, ...]
    namespaces: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    domain: bool = False
    """Whether Landlock keeps it from processes outside of its domain."""
    key: str = ""
    """The protection that a profile asks for against it, whose loss is then the reason."""
    sysctl: tuple[str, ...] = ()
    """A sysctl, and the values with which the kernel refuses it to whoever has no capability."""


def _calls(*names: str) -> tuple[Call, ...]:
    return tuple((name, ()) for name in names)


CALLS = (
    Row("shared memory", "System V shared memory", _calls("shmget", "shmat"), ("ipc",), key="process.isolate"),
    Row(
        "shared memory", "System V semaphores", _calls("semget", "semop", "semtimedop"), ("ipc",), key="process.isolate"
    ),
    Row(
        "shared memory",
        "System V message queues",
        _calls("msgget", "msgsnd", "msgrcv"),
        ("ipc",),
        key="process.isolate",
    ),
    Row("shared memory", "POSIX message queues", _calls("mq_open", "mq_unlink"), ("ipc",), key="process.isolate"),
    Row("shared memory", "keyrings", _calls("add_key", "request_key", "keyctl")),
    Row(
        "processes",
        "limits of other processes",
        (("prlimit64", (OTHER_PID,)),),
        ("pid",),
        key="process.isolate",
    ),
    Row(
        "processes",
        "priority and processors of other processes",
        _calls(
            "setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity"
        ),
        ("pid",),
        key="process.isolate",
    ),
    Row(
        "processes",
        "memory and descriptors of other processes",
        _calls("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "process_madvise", "move_pages"),
        ("pid",),
        domain=True,
        key="process.isolate",
    ),
    Row("kernel", "modules", _calls("init_module", "finit_module", "delete_module"), (), ("CAP_SYS_MODULE",)),
    Row(
        "kernel", "reboot and another kernel", _calls("reboot", "kexec_load", "kexec_file_load"), (), ("CAP_SYS_BOOT",)
    ),
    Row(
        "kernel", "clocks", _calls("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"), (), ("CAP_SYS_TIME",)
    ),
    Row(
        "kernel",
        "timers that wake the machine",
        (("timerfd_create", (9,)), ("timer_create", (9,))),  # CLOCK_BOOTTIME_ALARM
        (),
        ("CAP_WAKE_ALARM",),
    ),
    Row(
        "kernel",
        "swap, accounting and quotas",
        _calls("swapon", "swapoff", "acct", "quotactl", "quotactl_fd"),
        (),
        ("CAP_SYS_ADMIN", "CAP_SYS_PACCT"),
    ),
    Row("kernel", "host name", _calls("sethostname", "setdomainname"), ("uts",), ("CAP_SYS_ADMIN",)),
    Row(
        "kernel",
        "mounts of the host",
        _calls("mount", "umount2", "move_mount", "pivot_root"),
        ("NS",),
        ("CAP_SYS_ADMIN",),
    ),
    Row("kernel", "log of the kernel", (("syslog", (5,)),), (), ("CAP_SYSLOG", "CAP_SYS_ADMIN")),
    Row("kernel", "BPF programs and maps", _calls("bpf"), sysctl=("kernel/unprivileged_bpf_disabled", "1", "2")),
    Row(
        "kernel",
        "new user namespaces",
        (("unshare", (NEW_USER,)), ("clone", (NEW_USER,)), ("clone3", ())),
        sysctl=("user/max_user_namespaces", "0"),
    ),
    Row("kernel", "raw input and output", _calls("iopl", "ioperm"), (), ("CAP_SYS_RAWIO",)),
)
