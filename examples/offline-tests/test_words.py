"""A suite of unit tests; some of them are about more than they should be."""

import os
import socket
import subprocess
from pathlib import Path

import pytest


def count(path):
    """How many words a file has."""
    return len(path.read_text().split())


def test_counts(tmp_path):
    """A good test: it writes below tmp_path."""
    (tmp_path / "text").write_text("one two three")
    assert count(tmp_path / "text") == 3


def test_uses_the_network():
    """One that fails where a port is taken, on a train, or behind a proxy."""
    socket.create_server(("127.0.0.1", 0)).close()


def test_leaves_a_file():
    """One that the next one may come to depend on."""
    Path("left").write_text("left here")


def test_has_no_key():
    """One that says whether keys of the environment are within reach."""
    assert "API_KEY" not in os.environ


@pytest.mark.sandbox("strict")
def test_hostile_input():
    """The body alone is confined, to memory and what is open: not even a program can be started."""
    with pytest.raises(PermissionError):
        subprocess.run(["true"], check=True)
