"""elf: what files say they need, read from well-formed and hostile files alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.elf import MOST_SCRIPTS, Elf, parse, script_words, trace
from sandrun.host import System
from tests.fakes import FakeHost, elf, file, link, program


def parsed(data: bytes) -> Elf | None:
    return parse("/opt/app/bin/prog", FakeHost({"/opt/app/bin/prog": file(data)}))


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_class_and_byte_order_is_read(wide: bool, order: str) -> None:
    """Interpreter, needed libraries and search path come out of 32 and 64 bits, both byte orders."""
    data = elf("/lib/ld.so.1", ("libc.so.6", "libm.so.6"), "$ORIGIN/../lib:/opt/x", wide=wide, order=order)
    assert parsed(data) == Elf("/lib/ld.so.1", ("libc.so.6", "libm.so.6"), ("/opt/app/lib", "/opt/x"))


def test_a_static_program_needs_nothing() -> None:
    """No PT_INTERP: no loader and no libraries."""
    assert parsed(elf("", ())) == Elf("", (), ())


@pytest.mark.parametrize(
    ("runpath", "search"),
    [
        ("${ORIGIN}", ("/opt/app/bin",)),
        ("$ORIGIN:$ORIGIN", ("/opt/app/bin",)),
        ("$LIB/x:/a", ("/a",)),
        ("relative", ()),
        ("", ()),
    ],
)
def test_search_path_tokens(runpath: str, search: tuple[str, ...]) -> None:
    """$ORIGIN is the directory of the real file; entries with other tokens and relative ones are left out."""
    for rpath in (True, False):
        found = parsed(elf(runpath=runpath, rpath=rpath))
        assert found is not None
        assert found.search == search


def test_origin_is_behind_links() -> None:
    """$ORIGIN of a program reached by a link is where the program lies."""
    host = FakeHost({"/opt/app/prog": file(elf(runpath="$ORIGIN/lib")), "/usr/bin/prog": link("/opt/app/prog")})
    found = parse("/usr/bin/prog", host)
    assert found is not None
    assert found.search == ("/opt/app/lib",)


@given(st.data())
def test_damaged_files_never_raise(data: st.DataObject) -> None:
    """Any bytes changed, any end cut off: an answer or None, never an exception."""
    good = bytearray(elf(runpath="$ORIGIN/lib", wide=data.draw(st.booleans()), order=data.draw(st.sampled_from("<>"))))
    for at, value in data.draw(st.lists(st.tuples(st.integers(4, len(good) - 1), st.integers(0, 255)), max_size=12)):
        good[at] = value
    found = parsed(bytes(good[: data.draw(st.integers(0, len(good)))]))
    assert found is None or isinstance(found, Elf)


def test_a_file_that_is_no_program_is_none() -> None:
    """Text, nothing and a directory are no ELF files."""
    assert parsed(b"text" * 100) is None
    assert parsed(b"") is None
    assert parse("/", FakeHost({})) is None


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"#!/bin/sh\n", ["/bin/sh"]),
        (b"#! \t/bin/sh -e -u \nrest", ["/bin/sh", "-e -u"]),
        (b"#!/usr/bin/env\tpython3\n", ["/usr/bin/env", "python3"]),
        (b"#!/bin/sh\0 -x\n", ["/bin/sh"]),
        (b"#!\n", []),
        (b"#!/x\xff\n", ["/x\udcff"]),
    ],
)
def test_script_words_are_split_as_the_kernel_does(head: bytes, words: list[str]) -> None:
    """One interpreter and at most one argument, blanks stripped, nothing after NUL or newline."""
    assert script_words(head) == words


def look_up(name: str) -> str | None:
    return {"python3": "/usr/bin/python3"}.get(name)


def test_a_script_leads_to_its_interpreters() -> None:
    """`#!/usr/bin/env -S python3 -u`: the script, env, and what env finds; the loader is of the last."""
    tree = {
        "/usr/bin/env": program(elf("/lib/other-ld.so")),
        "/usr/bin/python3": program(elf("/lib/ld.so")),
        "/home/a/tool": program(b"#!/usr/bin/env -S PYTHONX=1 python3 -u\n"),
    }
    start = trace("/home/a/tool", FakeHost(tree), look_up)
    assert start.programs == ("/home/a/tool", "/usr/bin/env", "/usr/bin/python3")
    assert start.loader == "/lib/ld.so"


def test_a_loop_of_scripts_ends() -> None:
    """A script that is its own interpreter is followed as far as the kernel does."""
    start = trace("/a", FakeHost({"/a": program(b"#!/a\n")}), look_up)
    assert start.programs == ("/a",) * (MOST_SCRIPTS + 1)
    assert start.elf is None


def test_this_machine_s_programs_are_understood() -> None:
    """The running interpreter is an ELF file whose loader, if it has one, exists."""
    host = System()
    found = parse("/proc/self/exe", host)
    assert found is not None
    assert not found.interpreter or host.stat(found.interpreter) is not None
