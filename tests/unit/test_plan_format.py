"""The Plan's bytes: every plan survives the round trip, and no other bytes make a plan."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.plan import format as plan_format
from sandrun.plan.format import FIELDS, MAGIC, VERSION, Plan, PlanError

I64 = st.integers(-(2**63), 2**63 - 1)
U64 = st.integers(0, 2**64 - 1)
BYTES = st.binary(max_size=40)
BY_CODE = {
    "i": I64,
    "Q": U64,
    "b": BYTES,
    "B": st.lists(BYTES, max_size=4).map(tuple),
    "I": st.lists(I64, max_size=4).map(tuple),
    "P": st.lists(st.tuples(U64, st.integers(0, 255), BYTES), max_size=4).map(tuple),
    "N": st.lists(st.tuples(U64, U64), max_size=4).map(tuple),
    "R": st.lists(st.tuples(U64, U64, U64), max_size=4).map(tuple),
    "V": st.lists(st.tuples(U64, U64, BYTES, BYTES), max_size=4).map(tuple),
}
PLANS = st.fixed_dictionaries({}, optional={name: BY_CODE[code] for name, code, _ in FIELDS}).map(
    lambda fields: Plan(**fields)
)


@given(PLANS)
def test_round_trip(plan: Plan) -> None:
    """from_bytes(to_bytes()) is the same plan, and equal plans have equal bytes and hashes."""
    again = Plan.from_bytes(plan.to_bytes())
    assert again == plan
    assert again.to_bytes() == plan.to_bytes()
    assert hash(again) == hash(plan)


@given(PLANS, st.data())
def test_truncated(plan: Plan, data: st.DataObject) -> None:
    """A plan cut short anywhere is refused, never half believed."""
    whole = plan.to_bytes()
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(PlanError):
        Plan.from_bytes(whole[:length])


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_noise(noise: bytes, tail: bytes) -> None:
    """Arbitrary bytes, also behind a right start, end in PlanError and in no other exception."""
    for data in (noise, MAGIC + noise, MAGIC + struct.pack("<I", VERSION) + noise + tail):
        try:
            Plan.from_bytes(data)
        except PlanError:
            continue
        pytest.fail("noise was read as a plan")


@given(PLANS, st.data())
def test_damaged(plan: Plan, data: st.DataObject) -> None:
    """One changed byte gives an error or another plan with other bytes; it is never read as the same plan."""
    whole = bytearray(plan.to_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        other = Plan.from_bytes(bytes(whole))
    except PlanError:
        return
    assert other != plan
    assert other.to_bytes() == bytes(whole)


def test_trailing_bytes() -> None:
    """Nothing may stand behind the last record."""
    with pytest.raises(PlanError, match="1 bytes too many"):
        Plan.from_bytes(Plan().to_bytes() + b"\0")


def test_other_version() -> None:
    """Another version is named in the error."""
    data = MAGIC + struct.pack("<I", VERSION + 1) + Plan().to_bytes()[12:]
    with pytest.raises(PlanError, match=f"version {VERSION + 1}"):
        Plan.from_bytes(data)


def test_unknown_field() -> None:
    """A misspelled field is an error, not a default."""
    with pytest.raises(TypeError, match="no_new_privs2"):
        Plan(no_new_privs2=0)


def test_immutable() -> None:
    """A plan does not change once made."""
    plan = Plan()
    with pytest.raises(AttributeError):
        plan.uid = 0


def test_defaults_protect() -> None:
    """A plan that says nothing keeps no capability and sets no_new_privs."""
    plan = Plan()
    assert (plan.bounding, plan.permitted, plan.inheritable, plan.ambient) == (0, 0, 0, 0)
    assert plan.no_new_privs == 1


def test_holds_flat_data_only() -> None:
    """Every field has a code that BY_CODE, and so the module's docstring, knows; no code can hold a Python object."""
    assert {code for _, code, _ in FIELDS} <= set(BY_CODE)
    assert plan_format.__doc__ is not None
    for code in BY_CODE:
        assert f"`{code}`" in plan_format.__doc__
