"""Names, numbers and sets: the generated tables hold together and agree with libseccomp, and entries mean what
systemd's documentation says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandrun.policy import _syscalls, syscalls
from sandrun.policy._syscalls import FOREIGN, NUMBERS, SETS, WIDTHS
from sandrun.primitives.seccomp_compile import load_pyseccomp
from tests.support import CHECKOUT, need, need_program

NEWER = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
    "listns": 470,
    "rseq_slice_yield": 471,
}


@pytest.mark.parametrize("arch", syscalls.ARCHES)
def test_newer_calls_have_their_number(arch: str) -> None:
    """From 424 on all architectures share their numbers."""
    assert {name: NUMBERS[arch].get(name) for name in NEWER} == NEWER
    table = {name: number for name, number in NUMBERS[arch].items() if number >= 424}
    assert table == {name: number for name, number in NUMBERS["x86_64"].items() if number >= 424}
    assert sorted(table.values()) == list(range(424, 472))


@pytest.mark.parametrize("arch", syscalls.ARCHES)
def test_numbers_agree_with_libseccomp(arch: str) -> None:
    """Wherever the installed libseccomp knows a name, it knows our number."""
    pyseccomp = load_pyseccomp()
    token = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}[arch]
    theirs = {name: pyseccomp.resolve_syscall(token, name) for name in NUMBERS[arch]}
    assert {name: number for name, number in theirs.items() if number >= 0 and number != NUMBERS[arch][name]} == {}
    assert sum(number >= 0 for number in theirs.values()) > 300


def test_numbers_agree_with_the_kernel_headers() -> None:
    """Wherever this machine's headers name a syscall, they give our number."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    need(header.exists(), "linux-libc-dev for x86_64 is not installed")
    theirs = dict(re.findall(r"^#define __NR_(\w+) (\d+)$", header.read_text(), re.MULTILINE))
    assert {name: int(number) for name, number in theirs.items() if NUMBERS["x86_64"].get(name) != int(number)} == {}


def test_sets_agree_with_systemd() -> None:
    """Every set that systemd prints is here, with all its members (ours have newer calls too)."""
    program = need_program("systemd-analyze")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if f"systemd {version}," not in (_syscalls.__doc__ or ""):
        pytest.skip(f"the sets are not those of systemd {version}")
    printed = subprocess.run([program, "syscall-filter"], capture_output=True, text=True, check=True).stdout
    theirs: dict[str, set[str]] = {}
    group = ""
    for line in printed.splitlines():
        if line.startswith("@"):
            group = line
        elif line.startswith("    ") and not line.startswith("    #"):
            theirs.setdefault(group, set()).add(line.strip())
    assert len(theirs) > 25
    for name, members in theirs.items():
        if name == syscalls.KNOWN_SET:
            assert members <= {call for table in NUMBERS.values() for call in table} | FOREIGN | set(SETS)
        else:
            assert members <= set(SETS[name]), name


def test_the_tables_hold_together() -> None:
    """Members are known names or sets, without a cycle; no name is foreign and native; widths are of known calls."""
    native = {name for table in NUMBERS.values() for name in table}
    assert not native & FOREIGN
    for members in SETS.values():
        assert {member for member in members if member not in native | FOREIGN and member not in SETS} == set()
    for group in SETS:
        syscalls.meaning(group, "x86_64")
    assert set(WIDTHS) <= native
    assert {letter for letters in WIDTHS.values() for letter in letters} <= set("isl?")
    assert all(len(letters) <= 6 for letters in WIDTHS.values())
    for table in NUMBERS.values():
        assert len(set(table.values())) == len(table)


def test_the_tables_are_cheap_to_import() -> None:
    """Pure literals: the module imports nothing."""
    code = "import sys; before = set(sys.modules); import sandrun.policy._syscalls; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {code}"],
        capture_output=True,
        text=True,
    )
    assert set(done.stdout.split()) <= {"__future__", "sandrun", "sandrun.policy", "sandrun.policy._syscalls"}


@pytest.mark.parametrize(
    ("group", "inside", "outside"),
    [
        ("@system-service", "read openat clone3 socket fchmodat2 cachestat futex_wait", "mount ptrace reboot bpf"),
        ("@privileged", "chown init_module reboot swapon settimeofday", "read clone"),
        ("@mount", "mount fsopen open_tree_attr pivot_root", "read statmount"),
        ("@default", "execve exit_group mseal rseq rseq_slice_yield", "read openat"),
        ("@known", "read mount listns", ""),
    ],
)
def test_sets_are_expanded_with_their_nested_sets(group: str, inside: str, outside: str) -> None:
    """A set is its members and those of the sets in it."""
    found = set(syscalls.meaning(group, "x86_64").numbers)
    assert {name for name in inside.split() if NUMBERS["x86_64"][name] not in found} == set()
    assert {name for name in outside.split() if NUMBERS["x86_64"][name] in found} == set()


def test_meaning() -> None:
    """Names, the C library's names, numbers, and names of another architecture."""
    assert syscalls.meaning("read", "x86_64") == ((0,), ())
    assert syscalls.meaning("read", "aarch64") == ((63,), ())
    assert syscalls.meaning("452", "x86_64") == ((452,), ())
    assert syscalls.meaning("open", "aarch64") == ((), ("open",))
    assert syscalls.meaning("socketcall", "x86_64") == ((), ("socketcall",))
    assert syscalls.meaning("umount", "x86_64") == ((166,), ())
    assert syscalls.meaning("fstatat", "aarch64") == ((79,), ())
    with pytest.raises(KeyError):
        syscalls.meaning("opennat", "x86_64")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("opennat", "unknown syscall 'opennat'", "did you mean openat?"),
        ("@filesystem", "unknown syscall set '@filesystem'", "did you mean @file-system?"),
        ("1073741824", "syscall number 1073741824 is out of range", "raw numbers go from 0 to 1073741823"),
        ("-1", "unknown syscall '-1'", None),
        ("", "unknown syscall ''", None),
        ("read\0", "unknown syscall 'read\\x00'", "did you mean read?"),
        ("READ", "unknown syscall 'READ'", None),
        ("٣", "unknown syscall '٣'", None),
        ("@", "unknown syscall set '@'", None),
    ],
)
def test_complaints(text: str, message: str, hint: str | None) -> None:
    """An unknown entry is an error on every architecture, with a suggestion where one is near."""
    assert syscalls.complaint(text) == (message, hint)


@pytest.mark.parametrize(
    "text", ["read", "open", "socketcall", "@swap", "@known", "0", "1073741823", "umount", "arm_fadvise64_64"]
)
def test_no_complaints(text: str) -> None:
    """Known anywhere is known."""
    assert syscalls.complaint(text) is None
    for arch in syscalls.ARCHES:
        syscalls.meaning(text, arch)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("socket", (32, 32, 32)),
        ("socketpair", (32, 32, 32, 64)),
        ("ioctl", (32, 32, 64)),
        ("fcntl", (32, 32, 64)),
        ("openat", (32, 64, 32, 16)),
        ("kill", (32, 32)),
        ("prctl", (32, 64, 64, 64, 64)),
        ("ptrace", (64, 64, 64, 64)),
        ("clone", (32, 64, 64, 64, 64)),
        ("mmap", (64, 64, syscalls.EITHER, syscalls.EITHER, 64, 64)),
        ("lseek", (32, 64, 32)),
        ("prlimit64", (32, 32, 64, 64)),
        ("unshare", (syscalls.EITHER,)),
        ("sendto", (32, 64, 64, 32, 64, 32)),
    ],
)
def test_argument_widths(name: str, widths: tuple[int, ...]) -> None:
    """As the kernel declares them: a filter that compares more bits than the kernel reads can be passed."""
    assert tuple(syscalls.argument_width(name, index) for index in range(syscalls.argument_count(name))) == widths


def test_widths_of_unknown_calls_are_unknown() -> None:
    """Of a raw number nothing is known but that it has at most six arguments."""
    assert syscalls.argument_count("1000") == 6
    assert syscalls.argument_width("1000", 0) == syscalls.EITHER
    assert syscalls.name_of(1000, "x86_64") == "1000"
    assert syscalls.name_of(0, "x86_64") == "read"
