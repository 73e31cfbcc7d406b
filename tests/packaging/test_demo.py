"""`make demo`: what a newcomer runs first."""

from __future__ import annotations

import subprocess

from tests.support import CHECKOUT, need, need_program


def test_demo_shows_what_it_says() -> None:
    """Each step of the demo comes out as it says, in the checkout as it is."""
    need_program("cc")
    need_program("make")
    need((CHECKOUT / ".venv/bin/sandrun").exists(), "the checkout has been set up: make setup")
    done = subprocess.run(["sh", "tools/demo.sh"], cwd=CHECKOUT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-> status 125" in done.stdout
    assert done.stdout.endswith("everything came out as it must.\n")
