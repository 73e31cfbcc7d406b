"""sandrun: run one command with only what it needs.

sandrun(3) describes the public names. Each is imported when it is first used, so that the launch path pays for none that it
does not use.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "BrokenSandboxError": "sandrun.library.pool",
    "CallError": "sandrun.library.call_errors",
    "CallTimeoutError": "sandrun.library.call_errors",
    "CalledProcessError": "sandrun.library.run",
    "CommandError": "sandrun.errors",
    "CompletedProcess": "sandrun.library.run",
    "Denial": "sandrun.library.status",
    "Enforcement": "sandrun.library.status",
    "Kernel": "sandrun.kernel",
    "Outcome": "sandrun.supervise",
    "Plan": "sandrun.plan.format",
    "Popen": "sandrun.library.process",
    "Profile": "sandrun.library.builder",
    "ProfileError": "sandrun.errors",
    "RemoteError": "sandrun.library.call_errors",
    "Resolution": "sandrun.plan.resolve",
    "Resources": "sandrun.library.status",
    "SandboxExecutor": "sandrun.library.pool",
    "SandrunError": "sandrun.errors",
    "SendError": "sandrun.library.call_errors",
    "StepError": "sandrun.errors",
    "UnsupportedError": "sandrun.errors",
    "UsageError": "sandrun.errors",
    "WireError": "sandrun.library.call_errors",
    "WorkerDiedError": "sandrun.library.call_errors",
    "call": "sandrun.library.call",
    "create_subprocess_exec": "sandrun.library.aio",
    "enter": "sandrun.library.inplace",
    "load": "sandrun.profile",
    "probe": "sandrun.kernel",
    "resolve": "sandrun.plan.resolve",
    "run": "sandrun.library.run",
    "sandboxed": "sandrun.library.call",
}
"""Each public name and the module that it comes from. The verbs `launch` and `supervise` share their modules' names."""

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 (the keys are strings)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
