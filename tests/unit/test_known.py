"""What is made beforehand of the built-in profiles is what a launch would make of them."""

from __future__ import annotations

import importlib.util
import random
from typing import TYPE_CHECKING, Any

import pytest

from sandrun.primitives import seccomp_compile, seccomp_known
from sandrun.primitives._filters import FILTERS
from sandrun.profile import source
from sandrun.profile._documents import DOCUMENTS
from tests import bpf_sim as sim
from tests.support import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

PROFILES = sorted((CHECKOUT / "profiles").glob("*.toml"))
VALUES = (0, 1, 2, 7, 16, 0o4000, 0o6777, 0x5412, 0x541C, 0x10000000, 0x7E020000, 1 << 31, 1 << 32, (1 << 64) - 1)


@pytest.fixture(scope="module")
def asked() -> dict[str, Any]:
    """What the generator would compile now, by its digest."""
    spec = importlib.util.spec_from_file_location("gen_known", CHECKOUT / "tools/gen_known.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.asked()
    return found


def test_every_built_in_profile_is_known_as_it_is() -> None:
    """The values and the lines of each are those of its text now, and nothing else is in the table."""
    texts = {source.digest(path.read_text()): path.read_text() for path in PROFILES}
    assert set(DOCUMENTS) == set(texts), "make known"
    for key, text in texts.items():
        assert DOCUMENTS[key]() == (source.parse(text, ""), source.lines(text)), "make known"


def test_a_profile_that_differs_is_parsed(tmp_path: Path) -> None:
    """One byte more than a built-in one is another text."""
    text = (CHECKOUT / "profiles/strict.toml").read_text()
    (tmp_path / "same.toml").write_text(text)
    (tmp_path / "other.toml").write_text(text.replace("core = 0", "core = 1"))
    same, other = (source.read(str(tmp_path / name), name) for name in ("same.toml", "other.toml"))
    assert (same.data["rlimits"], other.data["rlimits"]) == ({"core": 0}, {"core": 1})
    assert same.lines == other.lines


def test_what_is_read_of_a_known_profile_is_its_own(tmp_path: Path) -> None:
    """Whoever changes what was read changes it for nobody else."""
    path = str(PROFILES[0])
    first = source.read(path, "first")
    dict.clear(first.data)  # type: ignore[arg-type]
    assert source.read(path, "second").data


def test_the_filters_that_are_known_are_those_that_are_asked_for(asked: dict[str, Any]) -> None:
    """None is missing, so that no launch on a new kernel compiles one, and none is left of something older."""
    assert set(FILTERS) == set(asked), "make known"


def test_a_known_filter_answers_as_the_one_that_libseccomp_makes(asked: dict[str, Any]) -> None:
    """Byte by byte; or where this libseccomp writes other programs, for every number and many arguments."""
    choose = random.Random(0)
    for request in asked.values():
        arch, numbers, refusals = request
        known, made = seccomp_known.compile_filter(*request), seccomp_compile.compile_filter(*request)
        if known == made:
            continue
        by_argument = {one.number for one in refusals}
        for number in (*numbers, max(numbers) + 1, sim.X32_BIT, 0xFFFFFFFF):
            for _ in range(60 if number in by_argument else 2):
                args = [choose.choice(VALUES) for _ in range(6)]
                assert sim.verdict(known, number, args) == sim.verdict(made, number, args), (arch, number, args)


def test_another_request_is_compiled(asked: dict[str, Any]) -> None:
    """A filter that differs in one answer, or in one refusal less, is not the one that is known."""
    arch, numbers, refusals = next(iter(asked.values()))
    assert seccomp_known.request(arch, numbers, refusals) in FILTERS
    for other in ((arch, {**numbers, 1: 0}, refusals), (arch, numbers, refusals[1:]), ("aarch64", numbers, refusals)):
        assert seccomp_known.request(*other) not in FILTERS
    less = arch, numbers, refusals[1:]
    assert seccomp_known.compile_filter(*less) == seccomp_compile.compile_filter(*less)
