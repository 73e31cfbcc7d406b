"""Run the script of one step of a GitHub job under sandrun, and keep what the service makes of its output harmless.

The variables STEP_RUN, STEP_PROFILE, STEP_OPTIONS, STEP_SHELL and STEP_SUMMARY are the inputs that action.yml describes.
The status is that of sandrun, or 2 for an input that means nothing.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SHELLS = {
    "bash": "bash --noprofile --norc -eo pipefail {0}",
    "sh": "sh -e {0}",
    "python": "python {0}",
}
"""What GitHub makes of a step's `shell`."""
BELIEVED = (".git", ".github")
"""What later steps execute from the workspace: hooks, settings that name programs, local actions."""
FILES = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
"""The runner's files by their variables: what stands in there is believed by it, and by the steps that come after."""
TOKEN = re.compile(rb"extraheader\s*=\s*authorization|://[^/\s]*:[^/\s]*@", re.IGNORECASE)
"""How a checkout leaves its token in the settings of git."""
WILD = re.compile(r"[$*?[]")
"""The characters that mean something in a path that sandrun is given; in brackets each is itself."""
USAGE = 2
CHUNK = 1 << 16


def main() -> int:
    """Do it all and return the exit status."""
    inputs = {name: os.environ.pop(f"STEP_{name}", "") for name in ("RUN", "PROFILE", "OPTIONS", "SHELL", "SUMMARY")}
    place = Path(tempfile.mkdtemp(prefix="sandrun-", dir=os.environ.get("RUNNER_TEMP")))
    script, report = place / "script", place / "report.json"
    script.write_text(inputs["RUN"] + "\n")
    try:
        words = launch(inputs, str(script), str(report))
    except ValueError as error:
        print(f"sandrun: {error}", file=sys.stderr)
        return USAGE
    for file in (hidden := tokens()):
        words[1:1] = ["--deny", literal(file)]
    if hidden:
        tell_of(hidden)
    status = run(words)
    put("GITHUB_OUTPUT", f"status={status}\n" + (f"report={report}\n" if report.exists() else ""))
    if inputs["SUMMARY"] == "true" and report.exists():
        words = ["sandrun", "report", "--markdown", str(report)]
        page = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
        put("GITHUB_STEP_SUMMARY", page.stdout)
    return status


def launch(inputs: dict[str, str], script: str, report: str) -> list[str]:
    """The words of the launch. Raises ValueError for inputs that mean nothing."""
    template = shlex.split(SHELLS.get(inputs["SHELL"], inputs["SHELL"]))
    if not any("{0}" in word for word in template):
        raise ValueError(f"shell: {inputs['SHELL']}: neither bash, sh or python nor a command line with {{0}}")
    try:
        options = shlex.split(inputs["OPTIONS"], comments=True)
    except ValueError as error:
        raise ValueError(f"options: {inputs['OPTIONS']}: {str(error).lower()}") from None
    words = ["sandrun"]
    for name in inputs["PROFILE"].split():
        words += ["--profile", name]
    for name in (top + name for top in tops() for name in BELIEVED):
        words += ["--deny-write", f"{literal(name)}?"]
    for name in FILES:
        if os.environ.get(name):
            words += ["--deny", f"{literal(os.environ[name])}?"]
    words += ["--read", literal(script), "--report", report, *options, "--"]
    return words + [word.replace("{0}", script) for word in template]


def literal(path: str) -> str:
    """A path that means itself and nothing else. Names below .git/modules are those of whoever made the repository."""
    return WILD.sub(r"[\g<0>]", path)


def tops() -> list[str]:
    """The working directory and, if that is another, the workspace: what to put before the name of a file in there."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    return ["", *([f"{workspace}/"] if workspace and not os.path.samefile(workspace, ".") else [])]


def tokens() -> list[str]:
    """The settings of git, of the working directory and of the workspace, that have a token in them."""
    found = []
    for folder, _, files in (place for top in tops() for place in os.walk(f"{top}.git")):
        if "config" in files and TOKEN.search(Path(folder, "config").read_bytes()):
            found.append(f"{folder}/config")
    return found


def tell_of(files: list[str]) -> None:
    """Say why git will not work there. The names are those of submodules, so of whoever made the repository."""
    names = ", ".join(files).encode("unicode_escape").decode().replace("%", "%25")
    print(
        f"::warning title=sandrun::the checkout left a token in {names}: the step cannot read it, and git fails there."
        " Use actions/checkout with persist-credentials: false"
    )


def run(words: list[str]) -> int:
    """Start it, pass on the signals that end a job, and return the status.

    The runner takes commands from what a step prints, so it is told to ignore them until a word that the step cannot
    know. It reads standard output and error apart, so both go to one, where that word comes last; and they come through
    a pipe of the step's own, since who may write into a pipe may read what others wrote (/proc/self/fd of proc(5)).
    """
    word = secrets.token_hex(32)
    print(f"::stop-commands::{word}", flush=True)
    try:
        with subprocess.Popen(words, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda got, _: process.send_signal(got))
            while process.stdout and (part := process.stdout.read(CHUNK)):
                sys.stdout.buffer.write(part)
                sys.stdout.buffer.flush()
            status = process.wait()
    except OSError as error:
        print(f"sandrun: cannot start sandrun: {error.strerror}")
        status = 125
    print(f"\n::{word}::", flush=True)
    return status if status >= 0 else 128 - status


def put(variable: str, text: str) -> None:
    """Add to one of the files through which the runner is told."""
    if path := os.environ.get(variable):
        with open(path, "a") as stream:
            stream.write(text)


if __name__ == "__main__":
    sys.exit(main())
