"""Real programs are learned in the private cage, and their profiles work, are short, and grant nothing wide or sensitive."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, NamedTuple

import pytest

from sandrun.learn.tiers import is_below, tiers
from sandrun.profile.find import Found
from sandrun.profile.loader import load_file
from sandrun.profile.model import PathEntry
from tests.support import CHECKOUT, PATH, need, need_namespaces, need_program, sandrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Who

MOST_LINES = 59
PORT = 18439
NGINX = f"""
user root; daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 64; }}
http {{
    access_log access.log;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fast; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{PORT}; root html; location / {{ index index.html; }} }}
}}
"""
SERVE = f"""#!/bin/sh
nginx -p "$PWD" -c nginx.conf -e error.log & pid=$!
try=0
while [ $try -lt 200 ]; do
    sleep 0.2
    curl -sf http://127.0.0.1:{PORT}/ && break
    try=$((try + 1))
done
kill $pid && wait $pid
"""
NODE = """
const fs = require("fs"), child = require("child_process");
fs.writeFileSync("out.json", JSON.stringify({ in: fs.readFileSync("in.txt", "utf8").trim() }));
child.execSync("echo from a child", { stdio: "inherit" });
"""
MAKEFILE = "prog: main.o twice.o\n\tgcc -o prog main.o twice.o\n%.o: %.c twice.h\n\tgcc -O1 -c $<\n"
ELSEWHERE = "93.184.216.34"
EXTRA = f"""
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
__attribute__((constructor)) static void extra(void) {{
    const char *path = getenv("EXTRA_PATH");
    int fd;
    if (!path) return;
    if (*path) {{
        fd = open(path, strstr(path, "bashrc") ? O_WRONLY | O_APPEND | O_CREAT : O_RDONLY, 0600);
        _exit(fd < 0 ? 7 : 0);
    }}
    struct sockaddr_in to = {{ .sin_family = AF_INET, .sin_port = htons(443) }};
    inet_pton(AF_INET, "{ELSEWHERE}", &to.sin_addr);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    _exit(fd < 0 || connect(fd, (void *)&to, sizeof to) ? 7 : 0);
}}
"""
"""One more ability for any program that is linked dynamically, before it does anything else."""


class Job(NamedTuple):
    """How a program is set up, started, and what it leaves behind; `options` widen the cage."""

    setup: Callable[[Path, Who], None]
    argv: tuple[str, ...]
    result: str
    options: tuple[str, ...] = ()
    optional: bool = False
    """No machine has to have it."""


def _git(place: Path, who: Who) -> None:
    source = place.parent / f"{place.name}-source"
    source.mkdir()
    who.own(source)
    who.run(["git", "init", "-q", "."], cwd=source, check=True)
    (source / "file").write_text("text\n")
    who.own(source / "file")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    who.run(["git", "add", "file"], cwd=source, check=True)
    who.run(["git", *author, "commit", "-qm", "one"], cwd=source, check=True)


def _wheel(place: Path, _who: Who) -> None:
    files = {
        "tiny/__init__.py": b"X = 1\n",
        "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=") for name, data in files.items()
    }
    record = "".join(f"{name},sha256={digests[name].decode()},{len(files[name])}\n" for name in files)
    with zipfile.ZipFile(place / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
        wheel.writestr("tiny-1.0.dist-info/RECORD", f"{record}tiny-1.0.dist-info/RECORD,,\n")


def _c(place: Path, _who: Who) -> None:
    (place / "Makefile").write_text(MAKEFILE)
    (place / "twice.h").write_text("int twice(int);\n")
    (place / "twice.c").write_text('#include "twice.h"\nint twice(int x) { return 2 * x; }\n')
    (place / "main.c").write_text(
        '#include <stdio.h>\n#include "twice.h"\nint main(void) { return printf("%d", twice(3)) < 0; }\n'
    )


def _node(place: Path, _who: Who) -> None:
    (place / "main.js").write_text(NODE)
    (place / "in.txt").write_text("seven\n")


def _nginx(place: Path, _who: Who) -> None:
    (place / "html").mkdir()
    (place / "html" / "index.html").write_text("hello\n")
    (place / "nginx.conf").write_text(NGINX)
    (place / "serve.sh").write_text(SERVE)
    (place / "serve.sh").chmod(0o755)


def _nothing(_place: Path, _who: Who) -> None:
    """The program makes its own input."""


def _script(place: Path, _who: Who) -> None:
    (place / "in.txt").write_text("b\na\n")
    shutil.copy(CHECKOUT / "tests" / "probes" / "work.sh", place)


def _picture(place: Path, _who: Who) -> None:
    (place / "in.ppm").write_bytes(b"P6 4 4 255\n" + bytes(range(48)))


PIP = (
    "-m",
    "pip",
    "install",
    "-q",
    "--no-index",
    "--no-deps",
    "--no-compile",
    "--target",
    "lib",
    "./tiny-1.0-py3-none-any.whl",
)
SQL = "create table t(x); insert into t values (1); select count(*) from t"
JOBS = {
    "git": Job(_git, ("git", "clone", "-q", "SOURCE", "copy"), "copy/file"),
    "pip": Job(_wheel, (sys.executable, *PIP), "lib/tiny/__init__.py"),
    "make": Job(_c, ("make", "-s"), "prog"),
    "sqlite3": Job(_nothing, ("sqlite3", "t.db", SQL), "t.db"),
    "node": Job(_node, ("node", "main.js"), "out.json"),
    "nginx": Job(_nginx, ("./serve.sh",), "access.log", ("--loopback",)),
    "script": Job(_script, ("./work.sh",), "out.txt"),
    "convert": Job(_picture, ("convert", "in.ppm", "-resize", "50%", "out.png"), "out.png", optional=True),
    "ffmpeg": Job(_picture, ("ffmpeg", "-v", "error", "-i", "in.ppm", "out.png"), "out.png", optional=True),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", JOBS)
def test_a_program_is_learned(who: Who, box: Path, name: str) -> None:
    """Learned and verified; run again for real it makes its result; the profile is short, and neither wide nor sensitive.

    With one more ability it is refused just that, and told so first.
    """
    need_namespaces(who)
    job = JOBS[name]
    if job.optional and not shutil.which(name, path=PATH):
        pytest.skip(f"the program {name} is not installed")
    needed = {"make": ("make",), "nginx": ("nginx", "curl"), "pip": (), "script": ()}.get(name, (name,))
    for program in (*needed, "gcc"):
        need_program(program)
    if name == "pip":
        need(not who.run([sys.executable, "-m", "pip", "--version"]).returncode, "pip cannot be executed by this user")
    place = box / "place"
    place.mkdir()
    job.setup(place, who)
    who.own(place, *place.rglob("*"))
    argv = [word.replace("SOURCE", f"{place}-source") for word in job.argv]
    if job.optional:
        if who.run(argv, cwd=place).returncode:
            pytest.skip(f"the program {name} does not do this by itself either")
        (place / job.result).unlink()
    before = sorted(os.listdir(place))

    out = f"{box}/app.toml"
    who.own(box)
    done = sandrun("learn", "-o", out, *job.options, "--", *argv, who=who, cwd=place, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "verified: the command ends with status 0" in done.stderr
    assert sorted(os.listdir(place)) == before, "the cage keeps writes off the host"
    written = (box / "app.toml").read_text()
    assert written.count("\n") <= MOST_LINES
    _judge(out, who, place)

    ran = sandrun("-q", "-p", out, "--", *argv, who=who, cwd=place, timeout=90)
    assert ran.returncode == 0, ran.stderr
    assert (place / job.result).stat().st_size
    _one_more(out, who, place, argv)


def _one_more(profile: str, who: Who, place: Path, argv: list[str]) -> None:
    """The same command reads a key, writes a start file, and connects elsewhere: each is refused, and named first."""
    (place / "extra.c").write_text(EXTRA)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "extra.so", "extra.c"], cwd=place, check=True)
    (who.home / ".ssh").mkdir(exist_ok=True)
    key, start = who.home / ".ssh" / "id_rsa", who.home / ".bashrc"
    key.write_text("key\n")
    start.write_text("")
    who.own(who.home / ".ssh", key, start, place / "extra.so")
    words = ("--explain", "--json", "-p", profile, "-x", "extra.so", "--env", f"LD_PRELOAD={place}/extra.so")
    for path in (key, start, ""):
        done = sandrun(*words, "--env", f"EXTRA_PATH={path}", "--", *argv, who=who, cwd=place, timeout=90)
        assert done.returncode == 7, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith('{"sandrun"')]
        first = json.loads(lines[-1])["findings"][0]
        assert first["standing"] == "cause"
        what = first["denials"][0]["what"]
        assert str(path) in what if path else ELSEWHERE in what or "socket" in what
    assert start.read_text() == ""


def _judge(profile: str, who: Who, place: Path) -> None:
    """No entry grants `/`, everything, or anything in a tier."""
    loaded = load_file(Found(profile, profile, profile))
    known = tiers(str(who.home), ("/root",), str(place))
    grants = [
        value.value for key in ("read", "write", "create", "execute") for value in loaded.items(f"filesystem.{key}")
    ]
    assert grants
    for grant in grants:
        assert isinstance(grant, PathEntry)
        path = grant.path.rstrip("?")
        assert grant.group in ("", "@runtime", "@devices", "@tty")
        assert path != "/"
        full = os.path.normpath(os.path.join(place, path)) if grant.path and not path.startswith("~") else path
        assert not known.of(full)
        assert not any(is_below(tier, full) for tier, _ in known.places if full.startswith("/"))
