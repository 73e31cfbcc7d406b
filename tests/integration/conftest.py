"""Fixtures of the integration tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import support

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def root() -> Iterator[support.Who]:
    """Root, for what only root can do; such a test is not there for a session of an ordinary user."""
    support.need_root()
    with support.a_who("root") as made:
        yield made
