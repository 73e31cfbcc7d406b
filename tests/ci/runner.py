"""What a service does with a job, as far as the tests need it: GitHub's runner for a composite action."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from tests.support import CHECKOUT, PATH, UNFINISHED, need_program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support import Who

ACTION: dict[str, Any] = yaml.safe_load((CHECKOUT / "action.yml").read_text())
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"], "sh": ["sh", "-e"]}
"""How the runner starts the file of a `run:`."""


@dataclass
class Ended:
    """What is known of a job's step that used the action. `uses`: the actions that it used itself, with their inputs."""

    status: int = 0
    output: str = ""
    uses: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""


def with_sandrun(who: Who, folder: Path) -> str:
    """A PATH on which `sandrun` is the one under test, of `folder` and the usual directories."""
    folder.mkdir(exist_ok=True)
    program = folder / "sandrun"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(who.sandrun)} "$@"\n')
    program.chmod(0o755)
    return f"{folder}:{PATH}"


class Runner:
    """The machine of one job: a workspace, the files through which a step tells the runner things, and its variables."""

    def __init__(self, who: Who, box: Path) -> None:
        self.who = who
        need_program("git")
        self.workspace, self.temp, self.action = box / "workspace", box / "temp", box / "action"
        for path in (self.workspace, self.temp):
            path.mkdir()
        self.action.mkdir()
        shutil.copy(CHECKOUT / "action.yml", self.action)
        shutil.copytree(CHECKOUT / "ci", self.action / "ci", ignore=UNFINISHED)
        self.files = {name: self.temp / name.lower() for name in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        for path in self.files.values():
            path.touch()
        self.path = with_sandrun(who, box / "bin")
        self.inside: tuple[str, ...] = ()
        """Words before those of a step, for a job in a container."""
        who.own(self.workspace, self.temp, *self.files.values())

    def env(self) -> dict[str, str]:
        """What each step of the job sees."""
        names = {name: str(path) for name, path in self.files.items()}
        known = {"GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_TOKEN": "ghs_secret", "RUNNER_TEMP": str(self.temp)}
        return {
            **self.who.env, **known, **names, "PATH": self.path, "GITHUB_ACTION_PATH": str(self.action),
            "GITHUB_WORKSPACE": str(self.workspace), "ACTIONS_RUNTIME_TOKEN": "secret of the runner",
        }  # fmt: skip

    def use(self, **given: str) -> Ended:
        """Run a step of the job that uses the action with these inputs."""
        inputs = {name: str(about.get("default", "")) for name, about in ACTION["inputs"].items()}
        context = {"github.workspace": str(self.workspace)}
        inputs = {name: fill(value, context) for name, value in {**inputs, **given}.items()}
        context |= {f"inputs.{name}": value for name, value in inputs.items()}
        ended = Ended()
        for step in ACTION["runs"]["steps"]:
            if not wanted(step.get("if", "success()"), context, failed=ended.status != 0):
                continue
            if "uses" in step:
                ended.uses.append(
                    (step["uses"], {name: fill(str(text), context) for name, text in step["with"].items()})
                )
                continue
            status, output, outputs = self._run(step, context)
            context |= {f"steps.{step.get('id')}.outputs.{name}": value for name, value in outputs.items()}
            ended.status = ended.status or status
            ended.output += output
        ended.outputs = {name: fill(about["value"], context) for name, about in ACTION["outputs"].items()}
        ended.summary = self.files["GITHUB_STEP_SUMMARY"].read_text()
        return ended

    def start(self, step: Mapping[str, Any], context: Mapping[str, str]) -> tuple[subprocess.Popen[Any], Path]:
        """Start the `run:` of a step, and say where its outputs will be."""
        script, outputs = self.temp / "run", self.temp / "output"
        script.write_text(step["run"])
        outputs.write_text("")
        self.who.own(script, outputs)
        env = {name: fill(value, context) for name, value in step.get("env", {}).items()}
        words = [*self.inside, *SHELLS[step["shell"]], str(script)]
        where = fill(step.get("working-directory", str(self.workspace)), context)
        env = {**self.env(), "GITHUB_OUTPUT": str(outputs), **env}
        return self.who.popen(
            words,
            cwd=where,
            env=env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ), outputs

    def _run(self, step: Mapping[str, Any], context: Mapping[str, str]) -> tuple[int, str, dict[str, str]]:
        process, outputs = self.start(step, context)
        with process:
            output, _ = process.communicate(timeout=100)
        said = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return process.returncode, output, said

    def checkout(self, token: str = "") -> None:
        """What actions/checkout leaves in the workspace."""
        git = ["git", "-C", str(self.workspace), "-c", "init.defaultBranch=main"]
        self.who.run([*git, "init", "-q"], check=True)
        if token:
            value = f"AUTHORIZATION: basic {token}"
            self.who.run([*git, "config", "http.https://github.com/.extraheader", value], check=True)


def fill(text: str, context: Mapping[str, str]) -> str:
    """The text with each expression that is a name replaced by its value, "" if it has none."""
    return EXPRESSION.sub(lambda found: context.get(found[1], ""), text)


def wanted(condition: str, context: Mapping[str, str], *, failed: bool) -> bool:
    """Whether a step runs: terms joined by `&&`, each a function of status or a comparison with the empty text."""
    inner = EXPRESSION.sub(r"\1", condition)
    terms = [term.strip() for term in inner.split("&&")]
    if failed and not {"always()", "failure()"} & set(terms):
        return False
    for term in terms:
        if term.endswith("()"):
            continue
        name, compared = re.fullmatch(r"([\w.-]+) != '(.*)'", term).groups()  # type: ignore[union-attr]
        if context.get(name, "") == compared:
            return False
    return True


def commands(output: str) -> list[str]:
    """The workflow commands that the runner obeys: lines that start with one, but those between stop and its word."""
    obeyed, stopped = [], ""
    for raw in output.splitlines():
        line = raw.strip()
        if stopped:
            stopped = "" if line == f"::{stopped}::" else stopped
        elif line.startswith("::stop-commands::"):
            stopped = line.removeprefix("::stop-commands::")
        elif line.startswith(("::", "##[")):
            obeyed.append(line)
    return [*obeyed, f"stopped for good: {stopped}"] if stopped else obeyed


def is_executable(path: Path) -> bool:
    """Whether anybody may execute it."""
    return bool(path.stat().st_mode & stat.S_IXOTH)
