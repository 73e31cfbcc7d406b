"""action.yml: a step of a job under sandrun, as the runner runs it. What GitHub alone does is in `runner`."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.ci.runner import ACTION, EXPRESSION, Runner, commands, fill, is_executable
from tests.docs.documents import fenced
from tests.support import CHECKOUT, PATH, need_namespaces, need_program, need_userns

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

STEPS = ACTION["runs"]["steps"]
SNEAKY = """
printf '::add-mask::x\\n::stop-commands::mine\\n##[add-path]/tmp\\n::warning::planted\\n'
printf '::mine::\\n::error::planted\\n' >&2
printf 'no end of line' >&2
"""


LISTENING = """
import os
pipe = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
try:
    heard = os.read(pipe, 1000)
except BlockingIOError:
    heard = b""
with open("new", "w") as file:
    file.write(repr(heard))
os.rename("new", "heard")
"""
PYTHON = shutil.which("python3", path=PATH) or "python3"


@pytest.fixture
def runner(who: Who, box: Path) -> Runner:
    return Runner(who, box)


def wait_for(path: Path) -> None:
    """Wait until the step has made this file."""
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"nobody makes {path}"
        time.sleep(0.05)


# --- the file ------------------------------------------------------------------------------------------------------


def test_inputs_are_variables_and_no_code() -> None:
    """No script has an expression in it, every input that is used exists, and every one that exists is used."""
    for step in STEPS:
        if "run" in step:
            assert not EXPRESSION.search(step["run"]), step
            assert step["shell"] == "bash"
    names = set(re.findall(r"inputs\.([\w-]+)", json.dumps(ACTION["runs"])))
    assert names == set(ACTION["inputs"])
    assert all(about["description"] for about in ACTION["inputs"].values())
    assert ACTION["runs"]["using"] == "composite"


def test_its_programs_can_be_run() -> None:
    """What the steps name is there, and can be executed where it is executed."""
    named = {name for step in STEPS for name in re.findall(r"GITHUB_ACTION_PATH/([\w./-]+)", step.get("run", ""))}
    assert named == {"ci/install.sh", "ci/step.py"}
    assert is_executable(CHECKOUT / "ci" / "install.sh")


def test_the_readme_has_every_input() -> None:
    """The table of the README says of each input what it is."""
    readme = (CHECKOUT / "README.md").read_text()
    table = readme[readme.index("\n## In CI") :].split("\n## ")[1]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(ACTION["inputs"])


def test_the_workflows_shown_use_inputs_that_exist() -> None:
    """The README's step and the example's job are YAML, and give the action nothing that it does not know."""
    blocks = [yaml.safe_load(block.text) for block in fenced(CHECKOUT / "README.md", "yaml")]
    job = yaml.safe_load((CHECKOUT / "examples" / "ci-job" / "workflow.yml").read_text())["jobs"]["test"]
    steps = [step for block in [*blocks, job["steps"]] if isinstance(block, list) for step in block]
    used = [step["with"] for step in steps if "sandrun@" in step["uses"]]
    assert len(used) == 2
    for given in used:
        assert "run" in given
        assert set(given) <= set(ACTION["inputs"])


# --- a step --------------------------------------------------------------------------------------------------------


def test_a_step(runner: Runner) -> None:
    """It works in the workspace, its record is kept, the summary and the outputs tell of it."""
    ended = runner.use(run='echo made >file\necho "status $?"; pwd', profile="ci-test")
    assert ended.status == 0, ended.output
    assert (runner.workspace / "file").read_text() == "made\n"
    assert f"status 0\n{runner.workspace}\n" in ended.output
    assert ended.outputs["status"] == "0"
    with open(ended.outputs["report"]) as stream:
        assert json.load(stream)["outcome"]["status"] == 0
    assert ended.uses == [
        (
            "actions/upload-artifact@v4",
            {"name": "sandrun-report", "path": ended.outputs["report"], "if-no-files-found": "ignore"},
        )
    ]
    assert ended.summary.startswith("## sandrun\n")
    assert "The command exited with 0." in ended.summary


def test_a_step_that_fails(runner: Runner) -> None:
    """bash stops at the first command that fails, the status is the command's, and the record is kept all the same."""
    ended = runner.use(run="echo one\n(exit 3) | cat\necho two")
    assert (ended.status, ended.outputs["status"]) == (3, "3"), ended.output
    assert "two" not in ended.output
    assert [used for used, _ in ended.uses] == ["actions/upload-artifact@v4"]
    assert "The command exited with 3." in ended.summary


def test_without_record_and_summary(runner: Runner) -> None:
    """Who wants neither gets neither."""
    ended = runner.use(run="true", report="", summary="false")
    assert (ended.status, ended.uses, ended.summary) == (0, [], "")


def test_the_job_is_out_of_reach(runner: Runner) -> None:
    """No variable of the job but those granted, none of the runner's files, no home, no file outside the workspace."""
    run = """
    env | grep -E 'TOKEN|STEP_|GITHUB_ENV|GITHUB_PATH|RUNNER_TEMP' && exit 1
    # Where the temporary directories are its own, a file that it makes there is its own as well.
    for file in %s; do
        if grep ours "$file"; then exit 2; fi
        (echo X=1 >>"$file") || :
    done
    test "$CI" = true
    """
    secret = runner.who.home / ".netrc"
    secrets = [secret, runner.files["GITHUB_ENV"], runner.files["GITHUB_PATH"], runner.temp / "other"]
    for path in secrets:
        path.write_text("ours")
    runner.who.own(*secrets)
    ended = runner.use(run=run % shlex.join(map(str, secrets)))
    assert ended.status == 0, ended.output
    assert [path.read_text() for path in secrets] == ["ours"] * 4


def test_no_profile_gives_the_files_of_the_runner(runner: Runner) -> None:
    """What the next steps start with stays out of reach, whatever the profile grants."""
    need_namespaces(runner.who)
    files = shlex.join([str(path) for path in runner.files.values()])
    run = f"for file in {files}; do if (echo X=1 >>$file) || mv $file $file.old; then exit 1; fi; done; echo x >../outside"
    ended = runner.use(run=run, profile="offline", options=f"--write {shlex.quote(str(runner.workspace.parent))}")
    assert ended.status == 0, ended.output
    assert (runner.workspace.parent / "outside").exists(), "all else there is granted"
    assert runner.files["GITHUB_ENV"].read_text() == ""


def test_what_it_prints_is_no_command(runner: Runner) -> None:
    """The runner obeys nothing that the step prints, on either stream, and listens again afterwards."""
    ended = runner.use(run=SNEAKY)
    assert ended.status == 0, ended.output
    assert "::error::planted" in ended.output
    assert commands(ended.output) == []
    assert commands(ended.output + "::notice::after\n") == ["::notice::after"]


def test_what_later_steps_believe_stays(runner: Runner) -> None:
    """Hooks, settings of git and local actions in the workspace can be read and not be changed."""
    need_namespaces(runner.who)
    runner.checkout()
    (runner.workspace / ".github").mkdir()
    runner.who.own(runner.workspace / ".github")
    run = """
    if (echo x >.git/hooks/post-checkout) || (git config core.fsmonitor ./x) || (echo x >.github/action.yml); then exit 1; fi
    if mv .git .old || rm -r .github; then exit 2; fi
    git status --short
    """
    ended = runner.use(run=run)
    assert ended.status == 0, ended.output
    assert not (runner.workspace / ".git" / "hooks" / "post-checkout").exists()


def test_without_namespaces_it_fails_closed(runner: Runner) -> None:
    """Where .git cannot be kept the step does not run, and an option accepts the loss, which a warning names."""
    need_userns()
    if runner.who.is_root:
        pytest.skip("root needs no user namespace")
    runner.checkout()
    runner.inside = (need_program("bwrap"), "--unshare-user", "--disable-userns", "--dev-bind", "/", "/")
    ended = runner.use(run="echo ran")
    assert ended.status == 125, ended.output
    assert "ran\n" not in ended.output
    assert "--optional filesystem.deny_write" in ended.output
    ended = runner.use(run="echo ran", options="--optional filesystem.deny_write")
    assert ended.status == 0, ended.output
    assert "not enforced here: filesystem.deny_write" in ended.output


def test_the_token_of_the_checkout_is_hidden(runner: Runner) -> None:
    """What actions/checkout leaves in .git/config cannot be read, and a warning says what to do instead."""
    need_namespaces(runner.who)
    runner.checkout(token="c2VjcmV0")
    ended = runner.use(run="if grep -r c2VjcmV0 .; then exit 1; fi")
    assert ended.status == 0, ended.output
    assert [line.split(":")[2] for line in commands(ended.output)] == ["warning title=sandrun"]
    assert "persist-credentials: false" in ended.output


def test_names_of_submodules_hide_no_token(runner: Runner) -> None:
    """A submodule has any name that its repository gives it, and its token is hidden under that name."""
    need_namespaces(runner.who)
    runner.checkout()
    for name in ("a[b]", "ab", "c*$d"):
        folder = runner.workspace / ".git" / "modules" / name
        folder.mkdir(parents=True)
        (folder / "config").write_text("[http]\n\textraheader = AUTHORIZATION: basic c2VjcmV0\n")
        runner.who.own(folder.parent, folder, folder / "config")
    ended = runner.use(run="ls .git/modules; if grep -r c2VjcmV0 .; then exit 1; fi")
    assert ended.status == 0, ended.output
    assert "c*$d" in ended.output


def test_the_workspace_around_the_working_directory(runner: Runner) -> None:
    """Where a profile grants more than the working directory, the workspace's token and hooks are still kept."""
    need_namespaces(runner.who)
    runner.checkout(token="c2VjcmV0")
    inner = runner.workspace / "inner"
    inner.mkdir()
    (runner.workspace / "beside").write_text("beside")
    runner.who.own(inner)
    run = (
        "cat ../beside; if cat ../.git/config || echo x >../.git/hooks/post-checkout; then exit 1; fi; echo x >../made"
    )
    inputs = {"profile": "offline", "working-directory": str(inner)}
    ended = runner.use(run=run, options=f"--write {shlex.quote(str(runner.workspace))}", **inputs)
    assert ended.status == 0, ended.output
    assert "beside" in ended.output
    assert (runner.workspace / "made").exists(), "all else there is granted"


def test_the_word_to_listen_again_cannot_be_read(runner: Runner) -> None:
    """The pipe to the runner, in which the word may still be, is none that the step could read from."""
    context = {"inputs.run": f"{PYTHON} -I -c '{LISTENING}'", "inputs.profile": "ci-test", "inputs.shell": "sh"}
    context |= {"inputs.working-directory": str(runner.workspace)}
    process, _ = runner.start(STEPS[1], context)
    with process:
        wait_for(runner.workspace / "heard")  # a runner that is busy
        output, _ = process.communicate(timeout=60)
    assert (runner.workspace / "heard").read_text() == "b''"
    assert output.startswith("::stop-commands::")


@pytest.mark.parametrize(
    ("shell", "run"),
    [
        ("bash", "x='a  b'; [[ $x == 'a  b' ]] && echo \"$(echo \"it's\")\" `echo fine` \\${{ x"),
        ("sh", 'echo "$(echo "it\'s")" fine \'${{ x\''),
        ("python3 -I {0}", 'print("it\'s fine ${{ x")'),
        ("bash -c 'exec sh \"$0\"' {0}", "echo \"it's fine\" '${{ x'"),
    ],
)
def test_shells(runner: Runner, shell: str, run: str) -> None:
    """The script is text in a file: no quote or expression of it means anything on the way."""
    ended = runner.use(run=run, shell=shell)
    assert ended.status == 0, ended.output
    assert "it's fine ${{ x\n" in ended.output


@pytest.mark.parametrize(
    ("inputs", "status", "said"),
    [
        ({"shell": "fish"}, 2, "sandrun: shell: fish: neither bash, sh or python nor a command line with {0}"),
        ({"options": "--env 'A"}, 2, "sandrun: options: --env 'A: no closing quotation"),
        ({"options": "--no-such"}, 125, "--no-such"),
        ({"profile": "no-such"}, 125, "no-such"),
    ],
)
def test_inputs_that_mean_nothing(runner: Runner, inputs: dict[str, str], status: int, said: str) -> None:
    """One line says which, the script does not run, and there is nothing to keep."""
    ended = runner.use(run="echo ran", **inputs)
    assert ended.status == status
    assert said in ended.output
    assert "ran\n" not in ended.output
    assert "Traceback" not in ended.output


def test_profiles_and_options(runner: Runner) -> None:
    """Profiles add up, options are words as for a shell, lines of them with comments too."""
    options = "--env 'WORDS=a b'  # a comment\n--timeout 100s --pass-fd 1"
    ended = runner.use(run='echo "<$WORDS>"', profile="build ci-test", options=options)
    assert ended.status == 0, ended.output
    assert "<a b>" in ended.output
    with open(ended.outputs["report"]) as stream:
        assert json.load(stream)["plan"]["time"]["timeout"] == 100


def test_a_cancelled_job_leaves_nothing(runner: Runner) -> None:
    """The signal of a cancelled job reaches the command, whose whole tree ends."""
    context = {"inputs.run": "touch ready; (setsid sleep 60 &) ; sleep 60", "inputs.profile": "ci-test"}
    context |= {"inputs.working-directory": str(runner.workspace), "inputs.shell": "sh"}
    process, _ = runner.start(STEPS[1], context)
    with process:
        wait_for(runner.workspace / "ready")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output


# --- installing ----------------------------------------------------------------------------------------------------


def test_installing(who: Who, box: Path) -> None:
    """It takes sandrun from the action's own checkout by hashes, into a place that no step can change; once.

    Nothing that lies in the workspace is executed for that.
    """
    runner = Runner(who, box)
    fake, log = box / "fake", box / "log"
    fake.mkdir()
    log.touch()
    who.own(log)
    for name in ("sudo", "apt-get", "python3", "id"):
        said = "echo 1001" if name == "id" else f'echo {name} "$*" >>{log}'
        made = f'[ "$3" != venv ] || {{ mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; }}; {PYTHON} "$@" --help >&2'
        (fake / name).write_text(f"#!/bin/sh\n{said}\n{made if name == 'python3' else ':'}\n")
        (fake / name).chmod(0o755)
    for name in ("venv", "pip", "runpy", "argparse"):
        (runner.workspace / f"{name}.py").write_text("raise SystemExit('planted')")
    control = who.run([PYTHON, "-m", "venv", "--help"], cwd=runner.workspace)
    assert "planted" in control.stderr
    knob = box / "knob"
    knob.write_text("1\n")
    place = runner.temp / "sandrun-program"
    env = {**runner.env(), "PATH": f"{fake}:{PATH}", "STEP_USERNS": "true", "STEP_KNOB": str(knob)}
    done = who.run([runner.action / "ci" / "install.sh"], env=env, cwd=runner.workspace)
    assert done.returncode == 0, done.stderr
    assert "planted" not in done.stderr
    lines = log.read_text().splitlines()
    assert lines[0] == "sudo -n sysctl -q -w kernel.apparmor_restrict_unprivileged_userns=0"
    assert lines[1] == "sudo -n apt-get -qq update"
    assert lines[-3:] == [
        f"python3 -I -m venv {place}",
        f"python3 -I -m pip -q install --require-hashes -r {runner.action}/requirements/run.txt",
        f"python3 -I -m pip -q install --no-deps {runner.action}",
    ]
    assert runner.files["GITHUB_PATH"].read_text() == f"{place}/program\n"
    assert os.listdir(place / "program") == ["sandrun"], "the job keeps its own python"
    log.write_text("")
    done = who.run(
        [runner.action / "ci" / "install.sh"], env={**env, "PATH": f"{fake}:{runner.path}", "STEP_USERNS": ""}
    )
    assert (done.returncode, log.read_text()) == (0, "")


def test_the_expressions_of_the_tests_runner() -> None:
    """The runner of these tests fills in what GitHub would."""
    assert fill("a ${{ inputs.x }} ${{ no.such }}b", {"inputs.x": "1"}) == "a 1 b"
