"""Functions that the tests have run in confined workers, and that mean well."""

from __future__ import annotations

import datetime
import decimal
import enum
import io
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import sandrun


@dataclass
class Point:
    x: int
    y: int


class Colour(enum.IntEnum):
    RED = 1


class OwnError(ValueError):
    pass


Pair = namedtuple("Pair", "a b")

PLAIN = [
    None,
    True,
    -(2**70),
    1.5,
    float("inf"),
    1j,
    "né\udcff",
    b"\0\xff",
    [1, [2, ()]],
    ((),),
    {"a": {1: {2.5: None}}, (1, 2): b""},
    {1, "a"},
    [frozenset([1, (2, "b")])],
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
    datetime.time(1, 2),
    datetime.timedelta(-1, 2, 3),
    decimal.Decimal("1.10"),
    pathlib.Path("/a/b"),
]


def same(*args, **kwargs):
    return [*args, kwargs]


def plain():
    return PLAIN


def pid():
    return os.getpid()


def read(path):
    return pathlib.Path(path).read_text()


def write(path):
    pathlib.Path(path).write_text("written")


def connect(port):
    with socket.create_connection(("127.0.0.1", port), 5):
        return True


def environment():
    return dict(os.environ)


def descriptors():
    """The open descriptors, without the one that the question needs."""
    found = []
    for fd in range(100):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return found


def standard_input():
    return sys.stdin.read()


def say(text):
    print(text)
    print(text, file=sys.stderr)


def move(point):
    return point.x + 1


def make(what):
    return {
        "point": Point(1, 2),
        "colour": [{"a": Colour.RED}],
        "ordered": OrderedDict(a=1),
        "pair": Pair(1, 2),
        "file": io.StringIO(),
    }[what]


def itself():
    found: list[object] = []
    found.append(found)
    return found


def fail(how):
    raise {
        "value": ValueError("bad", 3),
        "key": KeyError("k"),
        "own": OwnError("mine"),
        "stop": StopIteration(1),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "syntax": SyntaxError("no", ("/etc/passwd", 1, 1, None)),
        "nested": ExceptionGroup("several", [ValueError(1)]),
        "escape": ValueError("\x1b]0;title\x07\nline"),
        "point": ValueError(Point(1, 2)),
    }[how]


def missing():
    pathlib.Path("/nonexistent/file").read_text()


def undecodable():
    b"\xff".decode()


def wait(seconds):
    time.sleep(seconds)
    return seconds


def thread():
    """Leaves a thread that never ends."""
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return "done"


def start(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def counted(counter=[0]):  # noqa: B006 (it is what tells one process from another)
    counter[0] += 1
    return counter[0]


def prepare(value):
    os.environ["PREPARED"] = str(value)
    return object()


def prepared():
    return os.environ.get("PREPARED")


@sandrun.sandboxed
def decorated(a, b=1):
    """A docstring."""
    return [a, b, os.getpid()]


@sandrun.sandboxed(profile="strict", timeout=30)
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)
