"""The native executor is the twin of the Python one: what is declared in both is the same."""

from __future__ import annotations

import re
import subprocess
import sys

from sandrun.plan.format import FIELDS
from sandrun.steps import CHILD_STEPS
from tests.support import CHECKOUT

NATIVE = CHECKOUT / "sandrun/native"
WITHOUT_MEANING = {
    # of plans that is_served refuses, by the field that goes with them
    *("relay_rules", "relay_deny", "relay_names", "relay_private"),
    *("broker_rules", "broker_deny", "cgroup_parents", "cgroup_controllers", "cgroup_limits"),
    "create",  # made by Python before it hands over
}
"""Fields that no C code looks at."""


def test_the_header_is_what_the_declarations_give() -> None:
    """A field, operation or right that changes in Python cannot be forgotten in C."""
    run = subprocess.run([sys.executable, CHECKOUT / "tools/gen_plan_fields.py", "--check"], timeout=60)
    assert run.returncode == 0, "run tools/gen_plan_fields.py"


def test_the_steps_are_the_same_in_the_same_order() -> None:
    """The index of a failed step means the same to both."""
    table = (NATIVE / "child.c").read_text().partition("static const struct step steps[]")[2].partition("};")[0]
    assert re.findall(r'\{"([^"]+)",', table) == [name for name, _ in CHILD_STEPS]


def test_every_field_is_looked_at() -> None:
    """A new field of the plan is executed, or refused, by the native executor; never ignored."""
    code = "".join(path.read_text() for path in NATIVE.glob("*.c") if path.name not in ("fuzz.c", "plan.c"))
    looked_at = set(re.findall(r"plan(?:->|\.)(\w+)", code))
    assert {name for name, _, _ in FIELDS} - looked_at == WITHOUT_MEANING
