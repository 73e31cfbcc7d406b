"""ci/gitlab.yml: a job that extends it, as a GitLab runner's shell runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from tests.ci.runner import with_sandrun
from tests.support import CHECKOUT, need_namespaces, need_program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

JOB: dict[str, Any] = yaml.safe_load((CHECKOUT / "ci" / "gitlab.yml").read_text())[".sandrun"]


def run(who: Who, box: Path, **variables: str) -> tuple[int, str]:
    """Run the job with these variables and return its status and output. What GitLab sets is set."""
    given = {**JOB["variables"], **variables, "CI": "true", "CI_JOB_TOKEN": "glcbt-secret"}
    env = {**who.env, **given, "PATH": with_sandrun(who, box / "bin"), "CI_PROJECT_URL": "https://gitlab.com/a/b"}
    status, said = 0, ""
    for part in ("script", "after_script"):
        script = "set -eo pipefail\n" + "".join(f"{line}\n" for line in JOB[part])
        done = who.run([need_program("bash"), "-c", script], cwd=box / "project", env=env)
        status, said = status or done.returncode, said + done.stdout + done.stderr
    return status, said


def project(who: Who, box: Path) -> Path:
    """A checkout that was made with the job's token in its address."""
    made = box / "project"
    made.mkdir()
    who.own(made)
    git = [need_program("git"), "-C", made]
    who.run([*git, "-c", "init.defaultBranch=main", "init", "-q"], check=True)
    who.run([*git, "remote", "add", "origin", "https://gitlab-ci-token:glcbt-secret@gitlab.com/a/b.git"], check=True)
    return made


def test_the_job(who: Who, box: Path) -> None:
    """The script runs without the token, the record and its summary are where the artifacts are taken from."""
    need_namespaces(who)
    made = project(who, box)
    words = 'echo made >file; ! env | grep TOKEN; ! grep -r glcbt .; ! (echo x >.git/config); echo "it\'s $A"'
    status, said = run(who, box, SANDRUN_RUN=words, SANDRUN_OPTIONS="--env A=fine --timeout 100s")
    assert status == 0, said
    assert "it's fine" in said
    assert (made / "file").read_text() == "made\n"
    record, page = (made / name for name in JOB["artifacts"]["paths"])
    assert json.loads(record.read_text())["plan"]["time"]["timeout"] == 100
    assert page.read_text().startswith("## sandrun\n")
    assert JOB["artifacts"]["when"] == "always"


def test_the_jobs_status_is_the_scripts(who: Who, box: Path) -> None:
    """A failing command ends the script and the job, and the summary is there all the same."""
    made = box / "project"
    made.mkdir()
    who.own(made)
    status, said = run(who, box, SANDRUN_RUN="(exit 3); echo reached")
    assert (status, "reached" in said) == (3, False)
    assert "The command exited with 3." in (made / "sandrun-report.md").read_text()
