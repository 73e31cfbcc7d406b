"""The fixtures that every test may ask for; what stands behind them is in `support`."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests import support

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A shell ignores two of them for what it starts in the background, nohup(1) the third; so would every command that a test
# sends them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# A busy machine is no failure, and a gate that fails must fail again: there the examples are the same each time.
hypothesis.settings.register_profile(
    "sandrun",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    max_examples=50,
    derandomize="CI" in os.environ,
    database=None,  # the checkout may belong to somebody else
)
hypothesis.settings.load_profile("sandrun")


@pytest.fixture(params=support.WHOS)
def who(request: pytest.FixtureRequest) -> Iterator[support.Who]:
    """Root and an ordinary user in turn, each with a home, a TMPDIR and a clean environment of its own."""
    with support.a_who(request.param) as made:
        yield made


@pytest.fixture
def box(who: support.Who) -> Iterator[Path]:
    """An empty directory that belongs to `who`, which pytest's own temporary directories don't."""
    with support.a_directory() as made:
        who.own(made)
        yield made


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """No process that a test started outlives it, and TMPDIR ends as it began."""
    if request.path.parent.name not in {"ci", "escape", "examples", "cli", "integration", "profiles"}:
        yield
        return
    support.become_subreaper()
    before = support.descendants()
    made: support.Who | None = request.getfixturevalue("who") if "who" in request.fixturenames else None
    files = support.files_below(made.tmp) if made else set()
    yield
    left = support.left_since(before)
    support.kill_all(left)
    support.reap_orphans()
    assert not left, f"processes left behind: {left}"
    if made:
        assert not (new := support.files_below(made.tmp) - files), f"files left behind: {sorted(new)}"
