"""Every attempt of this directory escapes without sandrun, and is blocked by it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import support
from tests.escape import outside
from tests.probes.inside import BLOCKED, ESCAPED

if TYPE_CHECKING:
    from types import ModuleType

    from _pytest.mark.structures import ParameterSet

NO_ATTEMPTS = {"__init__", "outside", "conftest", "test_escapes"}


def attempts() -> list[ModuleType]:
    """The modules of this directory that are attempts and make sense on this machine."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_ATTEMPTS)
    modules = [importlib.import_module(f"tests.escape.{name}") for name in names]
    return [module for module in modules if getattr(module, "MACHINE", os.uname().machine) == os.uname().machine]


def cases(*, bare: bool = False) -> list[ParameterSet]:
    """Each attempt with each user; `bare`: those that an otherwise empty profile must block too."""
    return [
        pytest.param(module, who, id=f"{module.__name__.rpartition('.')[2]}-{who}")
        for module in attempts()
        for who in support.WHOS
        if who in getattr(module, "WHO", support.WHOS) and (not bare or getattr(module, "BARE", False))
    ]


@pytest.mark.parametrize(("module", "who"), cases(), indirect=["who"])
def test_control(module: ModuleType, who: support.Who) -> None:
    """Without sandrun the attempt escapes: it is a real one."""
    if hasattr(module, "needs"):
        module.needs()
    with outside.prepared(module, who) as out:
        outside.run(module, out, outside.without_sandrun())
        expected = getattr(module, "CONTROL_STATUS", ESCAPED)
        assert out.status == expected, f"the control ended with {out.status}\n{out.output}"
        if hasattr(module, "unharmed"):
            # What it did may take a moment to be seen from outside: a signal to end a process, a packet to arrive.
            assert outside.wait_until(lambda: not module.unharmed(out)), f"the control harmed nothing\n{out.output}"


@pytest.mark.parametrize(("module", "who"), cases(), indirect=["who"])
def test_blocked(module: ModuleType, who: support.Who) -> None:
    """With sandrun the attempt is blocked, and nothing outside has changed."""
    _is_blocked(module, who, bare=False)


@pytest.mark.parametrize(("module", "who"), cases(bare=True), indirect=["who"])
def test_blocked_by_an_empty_profile(module: ModuleType, who: support.Who) -> None:
    """What no profile need ask for is blocked by one that asks for nothing."""
    _is_blocked(module, who, bare=True)


def _is_blocked(module: ModuleType, who: support.Who, *, bare: bool) -> None:
    if hasattr(module, "needs"):
        module.needs()
    with outside.prepared(module, who) as out:
        outside.run(module, out, outside.with_sandrun(module, out, bare=bare))
        expected = getattr(module, "STATUSES", (BLOCKED,))
        assert out.status in expected, f"{module.__doc__}\nended with {out.status}, not {expected}\n{out.output}"
        assert getattr(module, "SAYS", "") in out.output
        if hasattr(module, "unharmed"):
            assert module.unharmed(out), f"{module.__doc__}\n{out.output}"


def test_each_attempt_states_its_claim() -> None:
    """The docstring of an attempt is one sentence, and there are as many attempts as were promised."""
    claims = {module.__name__: (module.__doc__ or "").strip() for module in attempts()}
    assert all(claim.endswith(".") and "\n\n" not in claim for claim in claims.values())
    assert len(set(claims.values())) == len(claims) >= 60
