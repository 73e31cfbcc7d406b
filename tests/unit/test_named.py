"""sandrun.named.NamedTuple behaves as typing.NamedTuple wherever sandrun uses it."""

from __future__ import annotations

import pickle
import typing

import pytest

from sandrun import named


class Theirs(typing.NamedTuple):
    """Said of it."""

    one: int
    two: str = "x"

    @property
    def both(self) -> str:
        return f"{self.one}{self.two}"


class Ours(named.NamedTuple):
    """Said of it."""

    one: int
    two: str = "x"

    @property
    def both(self) -> str:
        return f"{self.one}{self.two}"


class Only(named.NamedTuple):
    value: int


class Below(Ours):
    """An ordinary class of the same fields."""

    more: int = 3


def test_is_made_and_read_like_the_original() -> None:
    """Positions, keywords and defaults make the same tuple; names, places and methods read it."""
    for kind in (Ours, Theirs):
        made = kind(1)
        assert made == (1, "x") == kind(one=1) == kind._make([1, "x"])
        assert (made.one, made.two, made[1], made.both) == (1, "x", "x", "1x")
        assert made._replace(two="y") == (1, "y")
        assert made._asdict() == {"one": 1, "two": "x"}
        assert kind._fields == kind.__match_args__ == ("one", "two")
        assert repr(made) == f"{kind.__name__}(one=1, two='x')"
        assert kind.__doc__ == "Said of it."
        assert pickle.loads(pickle.dumps(made)) == made
        assert type(pickle.loads(pickle.dumps(made))) is kind
    assert Only(5) == (5,)
    assert Below(1).more == 3
    assert Below._fields == Ours._fields
    match Ours(4, "z"):
        case Ours(number, two="z"):
            assert number == 4


@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_refuses_what_the_original_refuses(kind: typing.Any) -> None:
    """Too few, too many and unknown fields, and any change of one that is made."""
    for wrong in (kind, lambda: kind(1, "x", 2), lambda: kind(1, three=3), lambda: kind._make([1, "x", 2])):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises((TypeError, ValueError)):
        kind(1)._replace(three=3)
    for name in ("one", "both", "three"):
        with pytest.raises(AttributeError):
            setattr(kind(1), name, 2)
    assert not hasattr(kind(1), "__dict__")


def test_refuses_a_field_without_a_default_behind_one_with_a_default() -> None:
    """Else the values of a call would get to the wrong fields."""
    with pytest.raises(TypeError, match="without a default"):
        type(named.NamedTuple)(
            "Wrong", (named.NamedTuple,), {"__annotations__": {"one": "int", "two": "int"}, "one": 1}
        )
