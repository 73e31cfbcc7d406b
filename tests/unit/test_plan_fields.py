"""The C of the native executor knows the plan as Python declares it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_header_is_what_the_declarations_give() -> None:
    """A field, operation or right that changes in Python cannot be forgotten in C."""
    run = subprocess.run([sys.executable, ROOT / "tools/gen_plan_fields.py", "--check"], timeout=60)
    assert run.returncode == 0, "run tools/gen_plan_fields.py"
