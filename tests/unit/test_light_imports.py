"""What may import what: the LIGHT modules stay light, every arrow between modules points one way, and a child imports
nothing: behind a ruleset the interpreter could not open its own library."""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import os
import site
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support import CHECKOUT, in_child, landlock_abi

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = CHECKOUT / "sandrun"
MODULES = {
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
HEAVY_ADAPTERS = {
    "sandrun.primitives.cgroup_place",
    "sandrun.primitives.cgroup_probe",
    "sandrun.primitives.landlock_names",
    "sandrun.primitives._filters",
    "sandrun.primitives.seccomp_compile",
    "sandrun.primitives.seccomp_known",
    "sandrun.primitives.seccomp_match",
}
"""Needed to make a plan, not to execute one."""
LIGHT = {
    name
    for name in MODULES
    if name
    in {"sandrun.errors", "sandrun.ffi", "sandrun.libc", "sandrun.plan.format", "sandrun.places", "sandrun.failure"}
    or name
    in {
        "sandrun.launch",
        "sandrun.native",
        "sandrun.native.child",
        "sandrun.steps",
        "sandrun.connector",
        "sandrun.relaying",
        "sandrun.watch",
        "sandrun.supervise",
        "sandrun.proxy",
        "sandrun.guardian",
    }
    or (name.startswith("sandrun.primitives") and name not in HEAVY_ADAPTERS)
}
LATE = {
    "sandrun.watch": {
        "sandrun.connector",
        "sandrun.guardian",
        "sandrun.proxy",
        "sandrun.relaying",
        "sandrun.primitives.cgroup",
    },
    "sandrun.steps": {"sandrun.primitives.id_maps", "sandrun.primitives.label"},
    "sandrun.launch": {"sandrun.native.child", "sandrun.primitives.id_maps", "sandrun.failure"},
    "sandrun.primitives.tty": {"termios"},
}
"""What few plans need: imported by the parent where one does, before it forks; or once the child is no more."""
STDLIB = {
    "__future__",
    "_ctypes",
    "errno",
    "fcntl",
    "os",
    "resource",
    "select",
    "stat",
    "struct",
    "sys",
    "termios",
    "time",
}
PACKAGES = {
    "prctl": {"sandrun.primitives.capset"},
    "landlock": {"sandrun.primitives.landlock_names"},
    "pyseccomp": {"sandrun.primitives.seccomp_compile"},
    "dns": {"sandrun.egress.dns"},
    "_ctypes": {"sandrun.ffi"},
    "ctypes": {"sandrun.library.quick", *HEAVY_ADAPTERS},
}
"""Each of these is imported by its adapter and by nobody else."""

EVERYWHERE = ("sandrun.named", "sandrun.digest")
"""In the place of typing and hashlib."""
FOUNDATION = ("sandrun.errors", "sandrun.libc", "sandrun.ffi", *EVERYWHERE)
NOUNS = ("sandrun.plan.format",)
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # module pattern (the first that matches counts), what it may import of sandrun
    ("sandrun.errors", ()),
    ("sandrun.named", ()),
    ("sandrun.digest", ()),
    ("sandrun.ffi", ()),
    ("sandrun.libc", ("sandrun.ffi",)),
    ("sandrun.plan.format", ()),
    ("sandrun.primitives.cgroup", ("sandrun.primitives.cgroup_files", *FOUNDATION, *NOUNS)),
    ("sandrun.primitives.cgroup_probe", ("sandrun.primitives.cgroup*", *FOUNDATION, *NOUNS)),
    ("sandrun.primitives.capset", ("sandrun.primitives.caps", *FOUNDATION, *NOUNS)),
    ("sandrun.primitives.landlock_names", ("sandrun.primitives.landlock",)),
    ("sandrun.primitives.seccomp_compile", ("sandrun.primitives.seccomp*", "sandrun.policy.*", *FOUNDATION)),
    (
        "sandrun.primitives.seccomp_known",
        ("sandrun.primitives._filters", "sandrun.primitives.seccomp_compile", "sandrun.primitives.seccomp_match"),
    ),
    ("sandrun.primitives.seccomp*", ("sandrun.primitives.seccomp", *FOUNDATION, *NOUNS)),
    ("sandrun.primitives.view", ("sandrun.primitives.landlock", *FOUNDATION, *NOUNS)),
    ("sandrun.primitives.namespaces", ("sandrun.primitives.landlock", "sandrun.primitives.seccomp", *FOUNDATION)),
    ("sandrun.primitives.netns", ("sandrun.primitives.namespaces", *FOUNDATION)),
    ("sandrun.primitives*", (*FOUNDATION, *NOUNS)),
    ("sandrun.failure", ("sandrun.primitives.*", *FOUNDATION, *NOUNS)),
    ("sandrun.places", ("sandrun.primitives.*", *FOUNDATION, *NOUNS)),
    ("sandrun.steps", ("sandrun.primitives.*", *FOUNDATION, *NOUNS)),
    (
        "sandrun.launch",
        (
            "sandrun.primitives.*",
            "sandrun.failure",
            "sandrun.native",
            "sandrun.native.child",
            "sandrun.places",
            "sandrun.steps",
            *FOUNDATION,
            *NOUNS,
        ),
    ),
    ("sandrun.connector", ("sandrun.primitives.notify", "sandrun.primitives.sockaddr", *FOUNDATION, *NOUNS)),
    ("sandrun.relaying", ("sandrun.primitives.fds", "sandrun.primitives.netns", *FOUNDATION, *NOUNS)),
    ("sandrun.guardian", ("sandrun.primitives.cgroup", *FOUNDATION)),
    ("sandrun.proxy", ("sandrun.primitives.*", *FOUNDATION, *NOUNS)),
    (
        "sandrun.watch",
        (
            "sandrun.primitives.*",
            "sandrun.connector",
            "sandrun.proxy",
            "sandrun.guardian",
            "sandrun.relaying",
            *FOUNDATION,
            *NOUNS,
        ),
    ),
    (
        "sandrun.supervise",
        (
            "sandrun.primitives.*",
            "sandrun.connector",
            "sandrun.launch",
            "sandrun.watch",
            "sandrun.relaying",
            *FOUNDATION,
            *NOUNS,
        ),
    ),
    (
        "sandrun.alone",
        (
            "sandrun.primitives.*",
            "sandrun.failure",
            "sandrun.launch",
            "sandrun.places",
            "sandrun.steps",
            "sandrun.watch",
            *FOUNDATION,
            *NOUNS,
        ),
    ),
    (
        "sandrun.native*",
        (
            "sandrun.native",
            "sandrun.plancache.entry",
            "sandrun.primitives.*",
            "sandrun.places",
            "sandrun.report",
            "sandrun.supervise",
            *FOUNDATION,
            *NOUNS,
        ),
    ),
    # What every launch looks at first, without the modules that make plans.
    ("sandrun.events", ("sandrun.report", *FOUNDATION)),
    ("sandrun.plancache.answers", FOUNDATION),
    ("sandrun.plancache.entry", ()),
    ("sandrun.plancache.place", ("sandrun.plancache.answers", "sandrun.plancache.entry", *FOUNDATION, *NOUNS)),
    (
        "sandrun.plancache.again",
        ("sandrun.plancache.answers", "sandrun.plancache.entry", "sandrun.plancache.kept", "sandrun.plancache.place"),
    ),
    (
        "sandrun.plancache.kept",
        (
            "sandrun.plancache.entry",
            "sandrun.native",
            "sandrun.native.said",
            "sandrun.events",
            "sandrun.report",
            "sandrun.launch",
            "sandrun.supervise",
            "sandrun.watch",
            *FOUNDATION,
            *NOUNS,
        ),
    ),
    (
        "sandrun.plancache*",
        (
            "sandrun.plancache.*",
            "sandrun.plan.*",
            "sandrun.profile.*",
            "sandrun.host",
            "sandrun.kernel",
            "sandrun.native",
            "sandrun.native.handoff",
            "sandrun.report",
            "sandrun.rooted",
            *FOUNDATION,
        ),
    ),
    ("sandrun.egress*", ("sandrun.egress", "sandrun.egress.*", "sandrun.primitives.*", *FOUNDATION, *NOUNS)),
    ("sandrun.kernel", ("sandrun.primitives.*", *FOUNDATION)),
    ("sandrun.host", ("sandrun.errors", "sandrun.libc")),
    ("sandrun.elf", ("sandrun.errors",)),
    ("sandrun.rooted", ("sandrun.host",)),
    ("sandrun.policy*", ("sandrun.policy.*", "sandrun.primitives.*", "sandrun.plan.draft", "sandrun.errors")),
    ("sandrun.profile*", ("sandrun.profile.*", "sandrun.policy.*", "sandrun.primitives.*", "sandrun.errors")),
    (
        "sandrun.plan*",
        (
            "sandrun.plan.*",
            "sandrun.native",
            "sandrun.plancache.place",
            "sandrun.profile.*",
            "sandrun.policy.*",
            "sandrun.primitives.*",
            "sandrun.kernel",
            "sandrun.host",
            "sandrun.elf",
            "sandrun.rooted",
            "sandrun.errors",
        ),
    ),
    (
        "sandrun.doctor*",
        (
            "sandrun.doctor.*",
            "sandrun.plan.*",
            "sandrun.profile.*",
            "sandrun.policy.*",
            "sandrun.primitives.*",
            "sandrun.profile",
            "sandrun.kernel",
            "sandrun.host",
            "sandrun.launch",
            "sandrun.supervise",
            "sandrun.watch",
            "sandrun.report",
            "sandrun.dryrun",
            *FOUNDATION,
        ),
    ),
    (
        "sandrun.audit*",
        (
            "sandrun.audit.*",
            "sandrun.audit",
            "sandrun.plan.*",
            "sandrun.policy.*",
            "sandrun.primitives.*",
            "sandrun.profile.*",
            "sandrun.host",
            "sandrun.kernel",
            *FOUNDATION,
        ),
    ),
    (
        "sandrun.observe*",
        (
            "sandrun.observe",
            "sandrun.observe.*",
            "sandrun.audit.bpf",
            "sandrun.plan.*",
            "sandrun.policy.*",
            "sandrun.primitives.*",
            "sandrun.profile.*",
            "sandrun.host",
            "sandrun.kernel",
            "sandrun.report",
            *FOUNDATION,
        ),
    ),
    (
        "sandrun.why*",
        (
            "sandrun.why.*",
            "sandrun.audit.bpf",
            "sandrun.egress.rules",
            "sandrun.plan.*",
            "sandrun.policy.*",
            "sandrun.primitives.*",
            "sandrun.profile.*",
            "sandrun.elf",
            "sandrun.host",
            "sandrun.kernel",
            "sandrun.rooted",
            *FOUNDATION,
        ),
    ),
    (
        "sandrun.lock*",
        (
            "sandrun",
            "sandrun.lock",
            "sandrun.lock.*",
            "sandrun.learn.patterns",
            "sandrun.plan",
            "sandrun.plan.environment",
            "sandrun.plan.groups",
            "sandrun.policy",
            "sandrun.policy.*",
            "sandrun.profile.*",
            "sandrun.traffic",
            "sandrun.errors",
        ),
    ),
    ("sandrun.page*", ("sandrun.page", "sandrun.page.*", "sandrun.report")),
    ("sandrun.accounts", ("sandrun.plan.*", *FOUNDATION)),
    ("sandrun.traffic", ()),
    ("sandrun.dryrun", ("sandrun.report", "sandrun.plan.*", "sandrun.primitives.*")),
    ("sandrun.accounts", ("sandrun.plan.account", "sandrun.plan.format", "sandrun.libc", "sandrun.errors")),
    (
        "sandrun.audit*",
        (
            "sandrun.audit",
            "sandrun.audit.*",
            "sandrun.plan",
            "sandrun.plan.*",
            "sandrun.policy.*",
            "sandrun.primitives.*",
            "sandrun.host",
            "sandrun.kernel",
        ),
    ),
    (
        "sandrun.report",
        ("sandrun.plan.*", "sandrun.supervise", "sandrun.traffic", "sandrun.primitives.*", "sandrun.errors"),
    ),
    (
        "sandrun.workspace*",
        (
            "sandrun.workspace",
            "sandrun.workspace.*",
            "sandrun.primitives.*",
            "sandrun.plan.format",
            "sandrun.supervise",
            "sandrun.report",
            *FOUNDATION,
        ),
    ),
    ("sandrun.progress", ("sandrun.report",)),
    (
        "sandrun.explain*",
        (
            "sandrun.explain",
            "sandrun.explain.*",
            "sandrun.observe.events",
            "sandrun.observe.observer",
            "sandrun.primitives.landlock",
            "sandrun.traffic",
            "sandrun.kernel",
            "sandrun.why.*",
            "sandrun.plan.*",
            "sandrun.policy.*",
            "sandrun.profile.*",
            "sandrun.elf",
            "sandrun.host",
            "sandrun.supervise",
            *FOUNDATION,
        ),
    ),
    (
        "sandrun.learn*",
        (
            "sandrun.learn",
            "sandrun.learn.*",
            "sandrun.observe.events",
            "sandrun.policy.*",
            "sandrun.primitives.*",
            "sandrun.profile.*",
            "sandrun.elf",
            "sandrun.host",
            "sandrun.report",
            "sandrun.errors",
        ),
    ),
    (
        "sandrun.trace*",
        (
            "sandrun.trace",
            "sandrun.trace.*",
            "sandrun.observe.*",
            "sandrun.explain.denials",
            "sandrun.learn.calls",
            "sandrun.plan.*",
            "sandrun.policy.*",
            "sandrun.primitives.*",
            "sandrun.why.judge",
            "sandrun.profile",
            "sandrun.profile.*",
            "sandrun.errors",
        ),
    ),
    (
        "sandrun.group*",
        (
            "sandrun.group",
            "sandrun.group.*",
            "sandrun.egress",
            "sandrun.egress.confine",
            "sandrun.plan.*",
            "sandrun.policy",
            "sandrun.policy.*",
            "sandrun.primitives",
            "sandrun.primitives.*",
            "sandrun.profile.*",
            "sandrun.host",
            "sandrun.kernel",
            "sandrun.report",
            *FOUNDATION,
        ),
    ),
    (
        "sandrun.shrink*",
        ("sandrun.shrink", "sandrun.shrink.*", "sandrun.profile.*", "sandrun.report", "sandrun.errors"),
    ),
    (
        "sandrun.__main__",
        ("sandrun.cli.*", "sandrun.errors", "sandrun.cli", "sandrun.plancache.again", "sandrun.plancache.kept"),
    ),
    ("sandrun.cli*", ("sandrun.*",)),
    ("sandrun.broker", ()),
    (
        "sandrun.brokered*",
        (
            "sandrun.brokered",
            "sandrun.brokered.*",
            "sandrun.audit.questions",
            "sandrun.broker",
            "sandrun.host",
            "sandrun.plan.environment",
            "sandrun.plan.siblings",
            "sandrun.primitives.fds",
            "sandrun.primitives.view",
            "sandrun.profile.*",
            "sandrun.report",
            "sandrun.rooted",
            "sandrun.workspace",
            "sandrun.workspace.site",
            *FOUNDATION,
        ),
    ),
    ("sandrun.library*", ("sandrun.*",)),
    (
        "sandrun.testing*",
        (
            "sandrun.testing",
            "sandrun.testing.*",
            "sandrun.library",
            "sandrun.library.*",
            "sandrun.places",
            "sandrun.primitives.*",
            "sandrun.profile.bad",
            "sandrun.host",
            "sandrun.why.judge",
            *FOUNDATION,
        ),
    ),
    ("sandrun.pytest_plugin", ("sandrun.errors", "sandrun.testing", "sandrun.testing.*")),
    ("sandrun", ("sandrun.*",)),
)
FORBIDDEN = {
    "collections",
    "click",
    "ctypes.util",
    "dataclasses",
    "enum",
    "functools",
    "importlib.metadata",
    "inspect",
    "json",
    "landlock",
    "logging",
    "pathlib",
    "platform",
    "pyseccomp",
    "re",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "tomli",
    "typing",
}
"""Never in sys.modules after `import sandrun.launch`: each costs milliseconds at every launch."""


class Import(NamedTuple):
    name: str
    line: int
    in_function: bool


def imports_of(path: Path) -> list[Import]:
    """Every import that runs, with `from a import b` as a.b where that is a module; TYPE_CHECKING blocks don't run."""
    found: list[Import] = []

    def visit(node: ast.AST, in_function: bool) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.orelse:
                visit(child, in_function)
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, in_function) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append(Import(whole if whole in MODULES else str(node.module), node.lineno, in_function))
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text()), False)
    return found


@pytest.mark.parametrize("module", sorted(LIGHT))
def test_light_imports(module: str) -> None:
    """A LIGHT module imports only the short list and other LIGHT modules, from inside a function only those of LATE."""
    for name, line, in_function in imports_of(MODULES[module]):
        assert not in_function or name in LATE.get(module, ()), f"{module}:{line}: import inside a function"
        if name in PACKAGES:
            assert module in PACKAGES[name], f"{module}:{line}: only the adapter imports {name}"
        elif name == "sandrun" or name.startswith("sandrun."):
            assert name in LIGHT, f"{module}:{line}: {name} is not LIGHT"
        else:
            assert name in STDLIB, f"{module}:{line}: {name} is not on the short list"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_layers(module: str) -> None:
    """The imports between sandrun's modules are those of LAYERS, and the named packages stay behind their adapters."""
    allowed = next(may for pattern, may in LAYERS if fnmatch.fnmatchcase(module, pattern))
    for name, line, _ in imports_of(MODULES[module]):
        if name.startswith("sandrun.") and name not in (module, *EVERYWHERE):
            package = name.endswith(tuple(f".{folder.name}" for folder in PACKAGE.iterdir() if folder.is_dir()))
            assert package or any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed), (
                f"{module}:{line}: imports {name}"
            )
        adapters = PACKAGES.get(name.partition(".")[0])
        assert adapters is None or module in adapters, f"{module}:{line}: only {adapters} import {name}"


def test_tables_name_modules_that_exist() -> None:
    """A table that names a module nobody has would check nothing."""
    assert {"sandrun.launch", "sandrun.libc", "sandrun.primitives.landlock"} <= LIGHT
    assert set().union(*PACKAGES.values()) <= set(MODULES)


def test_launch_loads_little() -> None:
    """A bare interpreter that imports the launch path has none of the slow modules, also not through a third one."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; import sandrun.launch, sandrun.supervise, sandrun.watch; print(*sys.modules)"
    places = [str(CHECKOUT), *site.getsitepackages()]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *places], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert not loaded & FORBIDDEN
    assert not loaded & set().union(*LATE.values())
    assert "sandrun.launch" in loaded
    assert len(loaded) < 70, sorted(loaded)


class Recorder:
    """A finder that is asked first for every import of something not yet loaded, and writes it down."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        os.write(self.fd, name.encode() + b"\n")


def test_no_import_after_fork() -> None:
    """Between fork and execve, and on the way to a reported failure, nothing is imported."""

    def attempt() -> dict[str, str]:
        from sandrun import launch
        from sandrun.errors import SandrunError
        from sandrun.plan.format import Plan
        from sandrun.primitives import landlock

        class Watch:
            new_session = foreground = False
            own_group = True
            terminal = -1
            ignored = 0
            held = -1
            group = None
            relay = broker = None

            @staticmethod
            def clear() -> None:
                """There is nothing else here."""

        full = {
            "umask": 0o77,
            "nice": 5,
            "cwd": b"/",
            "rlimits": ((7, 64, 64),),
            "landlock_abi": min(1, landlock_abi()),
            "landlock_fs": landlock.fs_mask(1) if landlock_abi() else 0,
            "path_rules": ((landlock.EXECUTE, 1, b"/"),) if landlock_abi() else (),
        }
        answers = {}
        os.environ.clear()
        os.environ["SANDRUN_EXECUTOR"] = "python"
        for name, executable in (("runs", b"/bin/true"), ("fails", b"/nonexistent")):
            reader, writer = os.pipe()
            os.register_at_fork(after_in_child=lambda fd=writer: sys.meta_path.insert(0, Recorder(fd)))
            # The recorder's own pipe must survive the step that closes descriptors.
            os.set_inheritable(writer, True)
            plan = Plan(executable=executable, argv=(b"x",), pass_fds=(writer,), **full)
            try:
                child = launch.launch(plan, {}, Watch())
                answers[name] = str(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
            except SandrunError as error:
                answers[name] = str(error.status)
            os.close(writer)
            answers[name] += os.read(reader, 65536).decode()
        return answers

    assert in_child(attempt) == {"runs": "0", "fails": "127"}


def test_the_recorder_sees_imports() -> None:
    """The control of the test above: the import of a module that is not loaded reaches the recorder."""

    def attempt() -> str:
        reader, writer = os.pipe()
        sys.meta_path.insert(0, Recorder(writer))
        with contextlib.suppress(ModuleNotFoundError):
            __import__("no_such_module")
        return os.read(reader, 4096).decode()

    assert in_child(attempt) == "no_such_module\n"
