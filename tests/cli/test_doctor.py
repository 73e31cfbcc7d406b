"""`sandrun doctor` as a user runs it: on this machine, and inside of what others confine it by."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import cli, kernel, libc
from sandrun.cli.doctor import TRIED
from sandrun.primitives import landlock, seccomp
from tests.docs.documents import Page
from tests.integration.supervised import refusing
from tests.support import CHECKOUT, need_landlock, need_program, need_userns, sandrun
from tests.terminals import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support import Who

LAYERS = 16
"""The most Landlock rulesets that can be nested (landlock(7))."""


def doctor(who: Who, *before: str, status: int = 0, **options: Any) -> dict[str, Any]:
    """What `sandrun doctor --json` says, started by the words `before`."""
    done = who.run([*before, *who.sandrun, "doctor", "--json"], **options)
    assert (done.returncode, done.stderr) == (status, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_name(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


# --- here ----------------------------------------------------------------------------------------------------------


def test_here(who: Who) -> None:
    """On a machine that runs `default`, the doctor says so, with status 0, in text and as JSON alike."""
    need_landlock(1)
    found = doctor(who)
    assert found["sandrun"] == 1
    assert found["system"]["uid"] == who.uid
    assert found["facts"]["root"] == who.is_root
    assert by_name(found["profiles"])[TRIED]["state"] in ("runs", "loses")
    done = sandrun("doctor", who=who)
    assert (done.returncode, done.stderr) == (0, "")
    for title in ("mechanisms", "protections", "profiles"):
        for row in found[title]:
            assert re.search(rf"^  {re.escape(row['name'])} +{row['state']}\b", done.stdout, re.MULTILINE), row
            assert all(why in done.stdout for why in row["why"])


def test_a_dry_run_loses_the_same(who: Who) -> None:
    """What the doctor says of `default` is what the plan of a launch of it says."""
    need_landlock(1)
    verdict = by_name(doctor(who)["profiles"])[TRIED]
    done = sandrun("-n", "--json", "-p", f"builtin:{TRIED}", "--", "true", who=who, cwd="/usr", check=True)
    planned = [
        {"key": one["key"], "lost": lost} for one in json.loads(done.stdout)["protections"] for lost in one["lost"]
    ]
    assert verdict["lost"] == planned


def test_require_and_the_doctor_agree(who: Who) -> None:
    """A fact that the doctor finds is met as a requirement, and one that it does not is 125."""
    need_landlock(1)
    facts = doctor(who)["facts"]
    assert set(facts) == set(kernel.names(kernel.Kernel()))
    for fact, found in facts.items():
        done = sandrun("-q", "--require", fact, "--", "true", who=who, cwd="/usr")
        assert done.returncode == (0 if found else 125), fact
        assert (f"required here: {fact}" in done.stderr) == (not found)


def test_from_a_home_and_from_nowhere(who: Who) -> None:
    """Where the doctor is asked makes no difference: the same from a home, or from a directory that is gone."""
    need_landlock(1)
    states = [row["state"] for row in doctor(who)["profiles"]]
    gone = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    assert [row["state"] for row in doctor(who, "sh", "-c", gone, "sh")["profiles"]] == states
    closed = 'exec "$@" <&- 2>/dev/null'
    assert [row["state"] for row in doctor(who, "sh", "-c", closed, "sh")["profiles"]] == states


def test_the_manual_has_every_member(who: Who) -> None:
    """The members of the JSON object are those of the man page."""
    page = Page(CHECKOUT / "man" / "sandrun.1")
    found = doctor(who)
    title = "What the doctor finds"
    assert list(found)[1:] == page.tags(title)
    for name in ("mechanisms", "protections", "profiles"):
        members = {member for row in found[name] for member in row}
        known = page.entries[title][name]
        if name == "protections":
            known += page.entries[title]["mechanisms"]
        assert [member for member in members if member not in known] == []


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--frob"], ["x"], ["--json", "x"], ["--json=1"]])
def test_wrong_usage(capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Status 2, one line and a hint on stderr, nothing on stdout."""
    assert cli.main(["doctor", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("sandrun: ")
    assert len(err.splitlines()) == 2


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    """The help has the option."""
    assert cli.main(["doctor", "--help"]) == 0
    assert "--json" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("module", "package"), [("tomli", "tomli"), ("prctl", "python-prctl"), ("landlock", "landlock")]
)
def test_a_package_is_missing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    """Without one of its packages the doctor cannot tell, and says which."""
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(["doctor"]) == 125
    out, err = capfd.readouterr()
    assert out == ""
    assert f"cannot tell: needed packages cannot be used: {package}: " in err


@pytest.mark.parametrize("words", [["doctor"], ["-qv", "--", "true"], ["profile", "list"]])
def test_click_is_missing(words: list[str]) -> None:
    """Without click only plain command lines can be read, and that is one line too, for every verb and for a launch."""
    code = "import sys; sys.modules['click'] = None; from sandrun.__main__ import main; sys.exit(main())"
    from tests.support import a_who

    with a_who("user") as who:
        python = who.sandrun[0]
        done = who.run([python, "-c", code, *words], env=who.env | {"PYTHONPATH": ":".join(sys.path)}, cwd=CHECKOUT)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        "sandrun: cannot start: the Python package click is not installed\nsandrun: hint: pip install click\n"
    )


def on_terminal(who: Who, env: dict[str, str]) -> str:
    """What the doctor prints on a terminal."""
    ours, theirs = os.openpty()
    with who.popen([*who.sandrun, "doctor"], stdin=theirs, stdout=theirs, stderr=theirs, env=who.env | env) as process:
        os.close(theirs)
        text = shown(ours)
    assert process.returncode in (0, 1), text
    return text


def test_colours(who: Who) -> None:
    """On a terminal, unless NO_COLOR or a dumb terminal says otherwise."""
    assert "\x1b[32mok" in on_terminal(who, {"TERM": "xterm"})
    assert "\x1b" not in on_terminal(who, {"TERM": "xterm", "NO_COLOR": "1"})
    assert "\x1b" not in on_terminal(who, {"TERM": "dumb"})


# --- inside of something -------------------------------------------------------------------------------------------


def test_inside_sandrun(who: Who) -> None:
    """Under a filter that refuses namespaces the doctor blames the filter, and `default` can still be nested."""
    need_landlock(1)
    found = doctor(who, *who.sandrun, "-q", "-p", "offline", "--")
    assert by_name(found["profiles"])[TRIED]["state"] == "loses"
    assert (found["facts"]["userns"], found["facts"]["mountns"]) == (False, False)
    assert found["system"]["no_new_privs"]
    row = by_name(found["mechanisms"])["user namespaces"]
    assert "an outer seccomp filter is in force, as in Docker" in row["why"]


def test_no_user_namespaces_left(who: Who) -> None:
    """With user.max_user_namespaces = 0, set in a user namespace, the doctor names the sysctl and its remedy."""
    need_userns()
    unshare = need_program("unshare")
    limit = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    found = doctor(who, unshare, "-Ur", "sh", "-c", limit, "sh")
    row = by_name(found["mechanisms"])["user namespaces"]
    assert row["state"] == "no"
    assert "user.max_user_namespaces is 0" in row["why"]
    assert row["hints"] == ["sysctl -w user.max_user_namespaces=15000"]
    # root of this namespace may still make the others
    assert found["facts"]["mountns"]
    assert by_name(found["protections"])["another user"]["state"] == "no"


def test_landlock_refused(who: Who) -> None:
    """A container whose filter does not know Landlock: nothing of files can be promised, and `default` is refused."""
    need_landlock(1)
    enter = refusing(seccomp.errno_action(38), "landlock_create_ruleset")
    found = doctor(who, preexec_fn=enter, status=1)
    assert by_name(found["mechanisms"])["Landlock"]["state"] == "no"
    assert by_name(found["protections"])["read files"]["state"] == "no"
    assert by_name(found["profiles"])[TRIED]["state"] == "refused"
    done = sandrun("--", "true", who=who, preexec_fn=enter, cwd="/usr")
    assert done.returncode == 125


def test_landlock_that_only_answers(who: Who) -> None:
    """An ABI that can be asked for and not entered promises nothing either."""
    need_landlock(1)
    found = doctor(who, preexec_fn=refusing(seccomp.errno_action(1), "landlock_restrict_self"), status=1)
    row = by_name(found["mechanisms"])["Landlock"]
    assert row["found"] != ["ABI 0"]
    assert row["why"] == ["enter a ruleset: Operation not permitted (EPERM)"]
    assert by_name(found["protections"])["read files"]["state"] == "no"


def test_too_many_rulesets(who: Who) -> None:
    """Below as many rulesets as the kernel takes, another cannot be entered: found by doing, and the reason said."""
    need_landlock(1)
    attr = struct.pack("=Q", landlock.FS["make_block"])

    def enter() -> None:
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        for _ in range(LAYERS):
            libc.landlock_restrict_self(libc.landlock_create_ruleset(attr))

    found = doctor(who, preexec_fn=enter, status=1)
    row = by_name(found["mechanisms"])["Landlock"]
    assert row["why"] == ["enter a ruleset: Argument list too long (E2BIG)"]
    assert "16 rulesets" in row["hints"][0]


def test_killed_for_trying(who: Who) -> None:
    """A filter that kills for `unshare` kills the trial, not the doctor, and no core file is left."""
    need_landlock(1)
    found = doctor(who, preexec_fn=refusing(seccomp.KILL_PROCESS, "unshare"))
    row = by_name(found["mechanisms"])["user namespaces"]
    assert row["why"][0] == "make a user namespace: killed by signal 31"
    assert not list(who.home.glob("core*"))


def test_seccomp_refused(who: Who) -> None:
    """Where no filter can be loaded, what only a filter keeps is not promised."""
    need_landlock(1)
    found = doctor(who, preexec_fn=refusing(seccomp.errno_action(38), "seccomp"), status=1)
    assert by_name(found["mechanisms"])["seccomp filters"]["state"] == "no"
    for name in ("syscalls", "no connecting", "no unix sockets", "terminal, shared"):
        assert by_name(found["protections"])[name]["state"] == "no"


def test_a_launch_that_fails_is_told(who: Who) -> None:
    """What resolves and still cannot be launched is refused, with the reason that the launch gives."""
    need_landlock(1)
    enter = refusing(seccomp.errno_action(1), "landlock_add_rule")
    found = doctor(who, preexec_fn=enter, status=1)
    verdict = by_name(found["profiles"])[TRIED]
    assert verdict["state"] == "refused"
    assert re.fullmatch(r"cannot grant /.*: Operation not permitted \(EPERM\)", verdict["why"][0])
    done = sandrun("-q", "--", "true", who=who, preexec_fn=enter, cwd="/usr")
    assert (done.returncode, done.stderr) == (125, f"sandrun: {verdict['why'][0]}\n")
