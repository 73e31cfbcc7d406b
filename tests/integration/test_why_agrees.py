"""`sandrun why` and the kernel: for generated trees and profiles, the answers must be the same.

Each example is a tree (links, hard links, dots, renames, modes, owners, bind mounts), a few grants and denials, and a
list of questions. The judge answers them; then one command is launched by the very plan and tries all of them.
SANDRUN_AGREEMENT=5000 makes that many examples instead of a few.
"""

from __future__ import annotations

import gc
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from sandrun import launch, libc, supervise
from sandrun.cli import options
from sandrun.errors import SandrunError
from sandrun.host import System
from sandrun.kernel import NAMESPACES, probe, with_namespaces
from sandrun.plan import environment
from sandrun.plan import syscalls as plan_syscalls
from sandrun.plan.resolve import resolve
from sandrun.primitives import seccomp_compile, seccomp_match
from sandrun.profile import load
from sandrun.watch import begin
from sandrun.why.judge import Judge
from tests.integration.launching import whole
from tests.support import in_child, need_landlock, need_namespaces, need_program, remove_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.kernel import Kernel
    from tests.support import Who

WAYS = ("namespaces", "landlock alone")
EXAMPLES = int(os.environ.get("SANDRUN_AGREEMENT", "160")) // 4
"""For each of two users in each of the two ways."""
NAMES = ("a", "b", "c")
STRANGER = 4321
PROGRAMS = ("/usr", "/lib?", "/lib64?")
"""What the command itself needs. Groups would be looked through anew for each example."""
PROBE = """
import errno, os, sys
def tried(act, path):
    if act == "read":
        if os.path.isdir(path):
            os.listdir(path)
        else:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    elif act == "write":
        into = os.path.isdir(path)
        name = os.path.join(path, "new-entry") if into else path
        is_new = not os.path.lexists(name) or not os.path.exists(name)
        os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK if into else os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o600))
        if is_new:
            os.unlink(os.path.realpath(name))
    elif act == "execute":
        os.execve(path, [path], {})
    elif os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    else:
        os.unlink(path)
found = []
for act, path in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        tried(act, path)
        found.append("")
    except OSError as error:
        # A fifo that nobody reads, and a file that is no program, were opened.
        opened = (act == "write" and error.errno == errno.ENXIO) or (act == "execute" and error.errno == errno.ENOEXEC)
        found.append("" if opened else errno.errorcode[error.errno])
print(*found, sep="\\n")
"""
"""It imports little: on a slow machine its start is most of an example."""


class Case(NamedTuple):
    """One example. Paths are relative to the tree's directory, in which the command starts."""

    steps: list[tuple[str, ...]]
    flags: list[tuple[str, str]]
    words: tuple[str, ...]
    questions: list[tuple[str, str]]
    last: str


class Outcome(NamedTuple):
    """What came of it: why it could not be launched, or what the judge and the kernel said to each question."""

    refused: str
    rows: list[tuple[str, str, bool, str, str]]


class Filters:
    """Stands for `compile_filter`, and remembers: paths change nothing of the filter, which takes most of a resolution.

    Each example is a child, whose `new` ones go on to the next by way of the parent.
    """

    def __init__(self) -> None:
        self.known: dict[str, tuple[bytes, ...]] = {}
        self.new: dict[str, tuple[bytes, ...]] = {}

    def __call__(
        self, arch: str, numbers: Mapping[int, int], refusals: Sequence[seccomp_match.Refusal]
    ) -> tuple[bytes, ...]:
        key = repr((arch, numbers, refusals))
        if key not in self.known:
            self.known[key] = self.new[key] = seccomp_compile.compile_filter(arch, numbers, refusals)
        return self.known[key]


names = st.sampled_from(NAMES)
plain = st.lists(names, min_size=1, max_size=3).map("/".join)
spelled = st.one_of(
    plain,
    plain,
    st.lists(st.sampled_from((*NAMES, "..", ".", "new")), min_size=1, max_size=5).map("/".join),
    plain.map(lambda path: path + "/"),
    plain.map(lambda path: f"{path}/../{path.partition('/')[0]}"),
)
targets = st.one_of(
    plain, spelled, plain.map(lambda path: "/BASE/" + path), st.sampled_from((".", "..", "../a", "/BASE"))
)
modes = st.sampled_from(("644", "755", "600", "000", "444", "711", "555", "300", "1777"))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("dir"), plain),
        st.tuples(st.just("file"), plain),
        st.tuples(st.just("file"), plain),
        st.tuples(st.just("file"), plain),
        st.tuples(st.just("link"), plain, targets),
        st.tuples(st.just("hard"), plain, plain),
        st.tuples(st.just("fifo"), plain),
        st.tuples(st.just("rename"), plain, plain),
        st.tuples(st.just("mode"), plain, modes),
        st.tuples(st.just("owner"), plain),
        st.tuples(st.just("bind"), plain, plain),
    ),
    min_size=4,
    max_size=14,
)
keys = st.sampled_from(("read", "write", "execute", "read", "write", "deny", "deny_write", "create"))
flags = st.lists(
    st.tuples(
        keys, st.one_of(spelled, st.just("."), st.just("."), plain.map(lambda path: "/BASE/" + path), st.just("*"))
    ),
    min_size=1,
    max_size=5,
)
words = st.sampled_from(
    ((), (), (), (), ("--home", "hidden"), ("--home", "private"), ("--tmp", "private"), ("--isolate", "true"))
)
questions = st.lists(
    st.tuples(st.sampled_from(("read", "write", "execute")), st.one_of(spelled, st.just("."))), min_size=10, max_size=40
)
cases = st.builds(Case, steps, flags, words, questions, plain)


def is_within(base: str, path: str) -> bool:
    """Whether a path leads to the tree, by whatever links are on its way."""
    real, top = os.path.realpath(path), os.path.realpath(base)
    return real == top or real.startswith(top + "/")


def made(base: str, step: tuple[str, ...], *, may_mount: bool) -> None:
    """Do one step of making the tree. What cannot be done is left out."""
    kind, path, other = step[0], os.path.join(base, step[1]), step[2] if len(step) > 2 else ""
    touched = [path, *((os.path.join(base, other),) if kind in ("hard", "rename", "bind") else ())]
    if not all(is_within(base, os.path.dirname(place)) for place in touched):
        return  # a link made before leads out of the tree, and what is there belongs to the machine
    if kind in ("dir", "file", "link", "hard", "fifo"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    if kind == "dir":
        os.makedirs(path, exist_ok=True)
    elif kind == "file":
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755))
    elif kind == "link":
        os.symlink(other.replace("/BASE", base), path)
    elif kind == "hard":
        os.link(os.path.join(base, other), path, follow_symlinks=False)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "rename":
        os.rename(path, os.path.join(base, other))
    elif kind == "owner" and os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    elif kind == "bind" and may_mount and os.path.realpath(path).startswith(base):
        bind(os.path.realpath(path), os.path.join(base, other))


def bind(source: str, target: str) -> None:
    """Show one directory or file at another, in this process's mount namespace."""
    libc.move_mount(libc.open_tree(os.open(source, os.O_PATH)), os.open(target, os.O_PATH | os.O_NOFOLLOW))


def kernel_for(way: str) -> Kernel:
    kernel = with_namespaces(probe())
    if way == WAYS[0]:
        return kernel
    return kernel._replace(namespace_reason="turned off", **dict.fromkeys(NAMESPACES, False))


def compared(case: Case, base: str, kernel: Kernel) -> Outcome:
    """Make the tree, ask the judge, launch the command; in a process of its own, as the user."""
    may_mount = os.geteuid() == 0
    if may_mount:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount_setattr(libc.AT_FDCWD, b"/", libc.AT_RECURSIVE, propagation=libc.MS_PRIVATE)
    for step in case.steps:
        if step[0] != "mode":
            _left_out(made, base, step, may_mount=may_mount)
    os.chdir(base)  # a link may lead to it, so its own mode may be among those that change
    for step in case.steps:
        if step[0] == "mode" and is_within(base, os.path.join(base, step[1])):
            _left_out(os.chmod, os.path.join(base, step[1]), int(step[2], 8))
    asked = [*case.questions, ("remove", case.last)]
    argv = [need_program("python3"), "-I", "-S", "-c", PROBE, *(word for question in asked for word in question)]
    given_words = ["-p", "none", *(word for path in PROGRAMS for word in ("--execute", path)), *case.words]
    for key, path in case.flags:
        given_words += [f"--{key.replace('_', '-')}", path.replace("/BASE", base) + "?"]
    for key in ("deny", "deny_write", "write", "read", "tmp", "home"):
        given_words += ["--optional", f"filesystem.{key}"]
    request = options.parse([*given_words, "--", *argv])
    try:
        profile = load(request.profiles, request.overrides, optional=request.optional)
        resolution = resolve(profile, kernel, System(), request.command)
    except SandrunError as error:
        return Outcome(str(error), [])
    judge = Judge(profile, resolution, kernel, System(), groups=os.getgroups())
    said = [judge.file(act, path) for act, path in asked]
    output, errors = os.memfd_create("out"), os.memfd_create("err")
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    try:
        watch = begin(resolution.plan)
        child = launch.launch(resolution.plan, environment.values(profile, resolution.account), watch)
    except SandrunError as error:
        return Outcome(str(error), [])
    outcome = supervise.supervise(child, watch, resolution.plan)
    assert outcome.status == 0, (outcome, whole(errors))
    kernels = whole(output).decode().split("\n")[:-1]
    if kernels[-1] == "ENOTEMPTY" and not os.access(case.last, os.R_OK):
        kernels[-1] = ""  # whether a directory is empty that this user may not list is nobody's to say before
    rows = [
        (act, path, answer.allowed, f"{answer.reason} [{', '.join(answer.mechanisms)}] {answer.ordinary}", found)
        for (act, path), answer, found in zip(asked, said, kernels, strict=True)
    ]
    return Outcome("", rows)


def _left_out(do: Any, *arguments: Any, **more: Any) -> None:
    try:
        do(*arguments, **more)
    except OSError:
        return


@pytest.mark.timeout(600 + 20 * EXAMPLES)
@pytest.mark.parametrize("way", WAYS)
def test_the_judge_and_the_kernel_agree(who: Who, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `why` allows works, and what it refuses does not, whatever the tree and the profile."""
    need_landlock(1)
    if way == WAYS[0]:
        need_namespaces(who)
    kernel, filters = in_child(lambda: kernel_for(way), who), Filters()
    monkeypatch.setattr(plan_syscalls, "compile_filter", filters)
    seccomp_compile.load_pyseccomp()
    gc.collect()
    gc.freeze()  # a collection in a child would copy what it shares with this process

    count = dict.fromkeys(("launched", "refused", "questions", "allowed"), 0)

    # To make an example smaller takes hundreds of launches; the questions of one are few enough to read.
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
    @given(cases)
    def agree(case: Case) -> None:
        base = tempfile.mkdtemp(dir=who.home)
        who.own(Path(base))
        try:
            outcome, new = in_child(lambda: (compared(case, base, kernel), filters.new), who, timeout=300)
        finally:
            remove_tree(Path(base))
        filters.known.update(new)
        note(outcome.refused)
        count["refused" if outcome.refused else "launched"] += 1
        count["questions"] += len(outcome.rows)
        for act, path, allowed, why, found in outcome.rows:
            count["allowed"] += allowed
            assert allowed == (not found), f"{act} {path}: why: {allowed}, {why}; kernel: {found or 'works'}"

    agree()
    print(count)
    assert count["launched"] > EXAMPLES / 4, count
    assert count["allowed"] > count["questions"] / 50, count


@pytest.mark.parametrize("way", WAYS)
def test_mount_points_are_not_removed(who: Who, way: str) -> None:
    """Nor does `why` say that they could be; one that another mount covers is none any more."""
    if who.uid:
        pytest.skip("mounting is for root")
    need_landlock(1)
    if way == WAYS[0]:
        need_namespaces(who)
    kernel = in_child(lambda: kernel_for(way), who)
    point = [("dir", "a/b"), ("dir", "c"), ("dir", "d/b"), ("bind", "c", "a/b")]
    for steps_, answer in ((point, (False, "EBUSY")), ([*point, ("bind", "d", "a")], (True, ""))):
        base = tempfile.mkdtemp(dir=who.home)
        try:
            case = Case(steps_, [("write", ".")], (), [("read", ".")], "a/b")
            outcome = in_child(partial(compared, case, base, kernel), who)
        finally:
            remove_tree(Path(base))
        *_, (act, _, allowed, why, found) = outcome.rows
        assert (act, allowed, found) == ("remove", *answer), why
