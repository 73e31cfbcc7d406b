"""sandrun as the SHELL of a Makefile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.ci.runner import with_sandrun
from tests.support import need_program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

MAKEFILE = """
SHELL := sandrun
.SHELLFLAGS = -q -p build -- /bin/sh -ec
NAME := $(shell echo "of a $$(basename "$$PWD")")

all: out
	@echo "$(NAME), it's $$SECRET."

out: in
	sort in >$@

sneaky:
	cat $(HOME)/secret

outside:
	echo x >$(HOME)/planted

multiple:
	false; echo not reached

deeper:
	@$(MAKE) -s all

strict: .SHELLFLAGS = -q -p strict -- /bin/sh -ec
strict:
	echo x >refused

"""


def make(who: Who, box: Path, *goals: str) -> tuple[int, str]:
    """Run make on the Makefile above and return its status and output."""
    folder = box / "project"
    if not folder.exists():
        folder.mkdir()
        (folder / "Makefile").write_text(MAKEFILE)
        (folder / "in").write_text("b\na\n")
        (who.home / "secret").write_text("of home")
        who.own(folder, who.home / "secret")
    env = {**who.env, "PATH": with_sandrun(who, box / "bin"), "SECRET": "of the environment"}
    done = who.run([need_program("make"), *goals], cwd=folder, env=env)
    return done.returncode, done.stdout + done.stderr


def test_recipes_are_run_under_the_profile(who: Who, box: Path) -> None:
    """Recipes and $(shell ...) work on what is there, without the secrets of the environment."""
    status, said = make(who, box)
    assert (status, said) == (0, "sort in >out\nof a project, it's .\n")
    assert (box / "project" / "out").read_text() == "a\nb\n"


def test_what_the_profile_does_not_grant_fails(who: Who, box: Path) -> None:
    """The home can be neither read nor written, and make stops as at any command that fails."""
    status, said = make(who, box, "sneaky")
    assert status == 2, said
    assert "of home" not in said
    make(who, box, "outside")  # in a private home it may succeed, and lasts as long as that
    assert not (who.home / "planted").exists()


def test_the_options_of_the_shell_hold(who: Who, box: Path) -> None:
    """`-e` ends a line at its first command that fails."""
    status, said = make(who, box, "multiple")
    assert status == 2
    assert "reached" not in said.replace("echo not reached", "")


def test_a_target_has_a_profile_of_its_own(who: Who, box: Path) -> None:
    """.SHELLFLAGS can be set for one target."""
    status, said = make(who, box, "strict")
    assert status == 2, said
    assert not (box / "project" / "refused").exists()


def test_make_in_make(who: Who, box: Path) -> None:
    """Inside, a sandrun that is not granted cannot be started again: the launch of the inner make fails, aloud."""
    status, said = make(who, box, "deeper")
    assert status == 2
    assert "sandrun" in said
