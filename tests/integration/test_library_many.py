"""Many launches from a program whose threads are busy: none hangs, and nothing of them is left in the program.

SANDRUN_MANY is the number of launches, where more of them are wanted than a run of all tests has time for.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import native
from tests.support import CHECKOUT, need, need_landlock

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

LAUNCHES = int(os.environ.get("SANDRUN_MANY", "40"))
PROGRAM = """
import json, os, sys, threading
import sandrun

launches, how = int(sys.argv[1]), sys.argv[2]
options = {"plain": {}, "captured": {"capture_output": True}, "overridden": {"profile": "strict", "nice": 5}}[how]
stop = threading.Event()

def be_busy():
    while not stop.is_set():
        sum(range(1000))

def descriptors():
    return sorted(os.listdir("/proc/self/fd"))

def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()

statuses = set()
statuses.add(sandrun.run(["true"], **options).returncode)  # what is imported is imported
sys.setswitchinterval(0.0005)
before = descriptors()
threads = [threading.Thread(target=be_busy) for _ in range(8)]
for thread in threads:
    thread.start()
endings = set()
for number in range(launches):
    done = sandrun.run(["sh", "-c", f"exit {number % 3}"] if number % 10 == 0 else ["true"], **options)
    statuses.add(done.returncode - (number % 3 if number % 10 == 0 else 0))
    endings.add((done.ending, bool(done.enforcement), done.resources.max_rss > 0))
stop.set()
for thread in threads:
    thread.join()
left = [name for name in descriptors() if name not in before]
print(json.dumps({"statuses": list(statuses), "endings": list(endings), "left": left, "children": children()}))
"""
SEVERAL = """
import concurrent.futures, json, os, sys
import sandrun

def launch(number):
    done = sandrun.run(["sh", "-c", f"exit {number % 100}"])
    if number % 5:
        return done.returncode == number % 100
    try:
        sandrun.run(["no-such-command"])
    except sandrun.CommandError as error:
        return str(error).startswith("command not found")

with concurrent.futures.ThreadPoolExecutor(8) as pool:
    right = sum(pool.map(launch, range(int(sys.argv[1]))))
with open(f"/proc/self/task/{os.getpid()}/children") as file:
    children = file.read().split()
print(json.dumps({"right": right, "children": children, "descriptors": len(os.listdir("/proc/self/fd"))}))
"""


@pytest.fixture(autouse=True)
def _kernel() -> None:
    need_landlock(1)
    need(os.access(native.BINARY, os.X_OK), "the native executor is not compiled")


def ran(who: Who, box: Path, program: str, *words: str, **env: str) -> Any:
    """What the program says of itself. The plans that it makes are kept as long as this box."""
    more = {"PYTHONPATH": str(CHECKOUT), "SANDRUN_CACHE": str(box / "plans"), **env}
    python = [who.sandrun[0], "-W", "error", "-c", program]
    done = who.run([*python, *words], env={**who.env, **more}, cwd=box, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["plain", "captured", "overridden"])
def test_busy_threads(who: Who, box: Path, how: str) -> None:
    """Eight busy threads: each launch ends and tells, no child and no descriptor is left, no warning is given."""
    said = ran(who, box, PROGRAM, str(LAUNCHES), how)
    assert said == {"statuses": [0], "endings": [["exited", True, True]], "left": [], "children": []}


@pytest.mark.timeout(900)
def test_launches_in_threads(who: Who, box: Path) -> None:
    """Eight threads launch at once, also what cannot be launched: each has its own end, and the descriptors are closed."""
    said = ran(who, box, SEVERAL, str(LAUNCHES))
    assert (said["right"], said["children"]) == (LAUNCHES, [])
    assert said["descriptors"] <= 5  # 0 to 2, and that of the directory


def test_a_descriptor_of_the_program(who: Who, box: Path) -> None:
    """What a program has open for its children, such as a thread for another launch, does not stay open in the launcher."""
    program = """
import json, os, signal, threading
import sandrun
signal.alarm(100)
reader, writer = os.pipe()
os.set_inheritable(writer, True)
ended = []
wait = f"test -e /proc/self/fd/{writer} && exit 9; while ! test -e go; do sleep 0.05; done"
thread = threading.Thread(target=lambda: ended.append(sandrun.run(["sh", "-c", wait]).returncode))
thread.start()
children = ""
while not children:
    with open(f"/proc/self/task/{thread.native_id}/children") as file:
        children = file.read()
os.close(writer)
os.read(reader, 1)  # the end of the file, once nobody has the other end open
open("go", "w").close()
thread.join()
print(json.dumps(ended))
"""
    assert ran(who, box, program) == [0]


def test_who_ignores_the_end_of_children(who: Who, box: Path) -> None:
    """With SIGCHLD ignored the kernel throws the launcher's status away: the events have it."""
    program = """
import json, signal
import sandrun
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(json.dumps([sandrun.run(["sh", "-c", end]).returncode for end in ("exit 3", "kill -9 $$", "exit 0")]))
"""
    assert ran(who, box, program) == [3, -9, 0]


def test_an_interrupt(who: Who, box: Path) -> None:
    """What interrupts the wait finds nothing left of the launch."""
    program = """
import json, os, signal, threading, time
import sandrun

def interrupt(*_):
    raise KeyboardInterrupt

def begin():
    while not os.path.exists("runs"):
        time.sleep(0.05)
    # Python notices one that comes right before a call that waits only when that returns, so it comes again.
    signal.setitimer(signal.ITIMER_REAL, 0.2, 20)

signal.signal(signal.SIGALRM, interrupt)
threading.Thread(target=begin, daemon=True).start()
is_interrupted = False
try:
    sandrun.run(["sh", "-c", "touch runs; sleep 300 & sleep 300"])
except KeyboardInterrupt:
    signal.setitimer(signal.ITIMER_REAL, 0)
    is_interrupted = True
with open(f"/proc/self/task/{os.getpid()}/children") as file:
    print(json.dumps([file.read(), is_interrupted]))
"""
    assert ran(who, box, program) == ["", True]
