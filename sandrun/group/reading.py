"""A group file → a Group: every mistake of it at once, each with its line and what may have been meant."""

from __future__ import annotations

import json
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sandrun.errors import Problem, ProfileError
from sandrun.group import fields
from sandrun.group.model import FIRST_FAILURE, Command, End, Group, Link, Ready, Restart
from sandrun.group.order import in_order
from sandrun.profile.bad import Bad, escaped, expected, unknown
from sandrun.profile.find import NONE, locate
from sandrun.profile.keys import TABLES
from sandrun.profile.layer import dotted, read_document
from sandrun.profile.source import read
from sandrun.profile.units import string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sandrun.profile.source import Document, Place

SCHEMA = 1
TOP = ("schema", "description", "status", "command", "pipe", "socketpair")
POLICY = (*TABLES, "replace", "optional", "require")
"""What a command may say itself of what it may do: as in a profile."""
COMMAND: dict[str, tuple[Callable[[object], Any], Any]] = {
    "argv": (fields.argv, None),
    "profile": (fields.profiles, ("default",)),
    "env": (lambda raw: raw, {}),
    "cwd": (string, ""),
    "stdin": (fields.one_of(fields.INPUTS), "null"),
    "stdout": (fields.one_of(fields.OUTPUTS), "log"),
    "stderr": (fields.one_of(fields.OUTPUTS), "log"),
    "ready": (fields.ready, Ready()),
    "ready_timeout": (fields.duration, 30.0),
    "restart": (fields.one_of(fields.RESTARTS), "never"),
    "max_restarts": (fields.count, 5),
    "restart_delay": (fields.duration, 0.2),
    "after": (fields.strings, ()),
    "required": (fields.boolean, True),
    "stop_signal": (fields.signal, fields.SIGNALS["TERM"]),
    "stop_timeout": (fields.duration, 5.0),
}
"""Each key of a command besides POLICY: its reader, and what holds without it."""
PIPE: dict[str, tuple[Callable[[object], Any], Any]] = {"from": (fields.end, None), "to": (fields.end, None)}
SOCKETPAIR: dict[str, tuple[Callable[[object], Any], Any]] = {
    "between": (fields.strings, None),
    # A socket for datagrams could send to any other one by its name.
    "type": (fields.one_of(("stream", "seqpacket")), "stream"),
}
READY_VARIABLE, LINK_VARIABLE = "SANDRUN_READY_FD", "SANDRUN_FD_{}"
MOST_COMMANDS = 64


def read_group(path: str) -> Group:
    """The group that a file describes. Raises ProfileError with every problem of it."""
    document = read(path, escaped(path))
    reader = _Reader(escaped(path), os.path.dirname(os.path.abspath(path)), document)
    try:
        group = reader.group()
    except Bad as bad:
        raise bad.as_error(reader.source) from None
    if reader.problems or group is None:
        raise ProfileError(reader.problems)
    return group


class _Reader:
    """The problems of one file in the making."""

    def __init__(self, source: str, directory: str, document: Document) -> None:
        self.source = source
        self.directory = directory
        self.data = document.data
        self.lines = document.lines
        self.problems: list[Problem] = []
        self.names: tuple[str, ...] = ()

    def bad(self, place: Place, error: Bad) -> None:
        known = place
        while known and known not in self.lines:
            known = known[:-1]
        line = f":{self.lines[known]}" if known else ""
        for one in error.all():
            self.problems.append(Problem(f"{self.source}{line}: {dotted(place)}{one.at}", one.message, one.hint))

    def value(self, place: Place, read: Callable[[object], Any], raw: object, default: Any = None) -> Any:
        """What `read` makes of a value; `default` if it is not there, or wrong, which is noted."""
        if raw is None:
            return default
        try:
            return read(raw)
        except Bad as error:
            self.bad(place, error)
            return default

    def table(self, place: Place, raw: object) -> Mapping[str, object]:
        """A table; an empty one if it is something else, which is noted."""
        if isinstance(raw, dict):
            return raw
        if raw is not None:
            self.bad(place, expected("a table", raw))
        return {}

    def known(self, place: Place, raw: Mapping[str, object], choices: Iterable[str]) -> None:
        """Note the keys that are none of `choices`."""
        choices = tuple(choices)
        for key in raw:
            if key not in choices:
                self.bad((*place, key), unknown("key", key, choices, list_them=not place))

    def group(self) -> Group | None:
        self.known((), self.data, TOP)
        self.value(("schema",), _schema, self.data.get("schema", 0))
        commands = self.table(("command",), self.data.get("command"))
        self.names = tuple(commands)
        if not 0 < len(commands) <= MOST_COMMANDS:
            self.bad(("command",), Bad(f"a group has 1 to {MOST_COMMANDS} commands", "write [command.NAME]"))
        links = self.links()
        choices = (FIRST_FAILURE, *self.names)
        status = self.value(("status",), fields.one_of(choices), self.data.get("status"), FIRST_FAILURE)
        made = [self.command(name, raw, links) for name, raw in commands.items()]
        if self.problems:
            return None
        try:
            ordered = in_order(made)
        except Bad as error:
            self.bad(("command",), error)
            return None
        return Group(ordered, tuple(links), status, self.directory)

    # --- commands ---

    def command(self, name: str, raw: object, links: Iterable[Link]) -> Command:
        place = ("command", name)
        self.value(place, fields.name, name)
        table = self.table(place, raw)
        self.known(place, table, (*COMMAND, *POLICY))
        value = {
            key: self.value((*place, key), read, table.get(key), default) for key, (read, default) in COMMAND.items()
        }
        if "argv" not in table:
            self.bad((*place, "argv"), Bad("a command needs its words", 'argv = ["PROGRAM", "WORD"]'))
        for at, other in enumerate(value["after"]):
            if other not in self.names:
                self.bad((*place, "after", at), unknown("command", other, self.names, list_them=True))
        for at, word in enumerate(value["profile"]):
            where = (*place, "profile") if isinstance(table.get("profile"), str) else (*place, "profile", at)
            self.value(where, self.profile, word)
        ends = {end.fd: link.name for link in links for end in (link.first, link.second) if end.command == name}
        for fd, stream in enumerate(fields.STREAMS):
            if fd in ends and stream in table:
                self.bad((*place, stream), Bad(f"the link {ends[fd]} has it already", "leave out one of the two"))
        ready = value["ready"]._replace(seconds=value["ready_timeout"])
        if ready.kind == "fd":
            ready = ready._replace(number=next(fd for fd in range(3, 100) if fd not in ends))
        return Command(
            name=name,
            argv=value["argv"] or (),
            profiles=value["profile"],
            source=f"{self.source} [command.{name}]",
            policy=self.policy(place, table, value, ends, ready),
            streams=MappingProxyType({fd: value[stream] for fd, stream in enumerate(fields.STREAMS) if fd not in ends}),
            ready=ready,
            restart=Restart(value["restart"] == "on-failure", value["max_restarts"], value["restart_delay"]),
            after=tuple(dict.fromkeys(value["after"])),
            required=value["required"],
            stop_signal=value["stop_signal"],
            stop_seconds=value["stop_timeout"],
        )

    def profile(self, word: object) -> None:
        """Raise Bad if nothing has this name."""
        if word != NONE:
            locate(str(word), os.path.join(self.directory, "group.toml"))

    def policy(
        self,
        place: Place,
        table: Mapping[str, object],
        value: Mapping[str, Any],
        ends: Mapping[int, str],
        ready: Ready,
    ) -> str:
        """The profile of what a command says itself, and of the descriptors that it gets, as TOML text."""
        own = {key: table[key] for key in POLICY if key in table}
        depth = len(place)
        lines = {at[depth:]: line for at, line in self.lines.items() if at[:depth] == place and len(at) > depth}
        _, problems = read_document(own, self.source, self.directory, lines)
        self.problems += problems
        if problems:
            return ""
        document: dict[str, Any] = {"schema": SCHEMA} | {
            key: dict(part) if isinstance(part, dict) else part for key, part in own.items()
        }
        variables = {LINK_VARIABLE.format(name.replace("-", "_").upper()): str(fd) for fd, name in ends.items()}
        fds = [fd for fd in ends if fd not in (0, 1, 2)]
        if ready.kind == "fd":
            variables[READY_VARIABLE] = str(ready.number)
            fds.append(ready.number)
        variables = self.environment((*place, "env"), value["env"]) | variables
        if variables:
            environment = document.setdefault("environment", {})
            environment["set"] = {**environment.get("set", {}), **variables}
        process = {"cwd": value["cwd"]} if value["cwd"] else {}
        if fds:
            process["pass_fds"] = sorted({*document.get("process", {}).get("pass_fds", ()), *fds})
        if process:
            document["process"] = {**document.get("process", {}), **process}
        return self.text(place, document)

    def text(self, place: Place, document: Mapping[str, object]) -> str:
        """The document with each key on the line that it has in the file of the group, since messages tell lines."""
        rows = sorted((self.lines.get((*place, key), 0), f"{key} = {_toml(part)}") for key, part in document.items())
        text = ""
        for line, row in rows:
            text += "\n" * (line - text.count("\n") - 1) + row + "\n"
        return text

    def environment(self, place: Place, raw: object) -> dict[str, str]:
        """The variables of `env`. No message shows a value."""
        table = self.table(place, raw)
        for name, text in table.items():
            if not isinstance(text, str):
                self.bad((*place, name), expected("a string", text, "put the value in quotes"))
            elif not name or "=" in name or "\0" in name + text:
                self.bad((*place, name), Bad("not a variable"))
        return {name: text for name, text in table.items() if isinstance(text, str)}

    # --- links ---

    def links(self) -> list[Link]:
        taken: dict[End, str] = {}
        found: list[Link] = []
        for kind, keys in (("pipe", PIPE), ("socketpair", SOCKETPAIR)):
            for name, raw in self.table((kind,), self.data.get(kind)).items():
                place = (kind, name)
                self.value(place, fields.name, name)
                if any(name.replace("-", "_").upper() == link.name.replace("-", "_").upper() for link in found):
                    self.bad(place, Bad("another link has this name"))
                table = self.table(place, raw)
                self.known(place, table, keys)
                ends = self.pipe_ends(place, table) if kind == "pipe" else self.socket_ends(place, table)
                if len(ends) != 2:
                    continue
                first, second = (self.end(at, end, taken, name) for at, end in ends)
                if first and second:
                    kind_of = (
                        "pipe"
                        if kind == "pipe"
                        else self.value((*place, "type"), SOCKETPAIR["type"][0], table.get("type"), "stream")
                    )
                    found.append(Link(name, kind_of, first, second))
        return found

    def pipe_ends(self, place: Place, table: Mapping[str, object]) -> list[tuple[Place, tuple[str, int]]]:
        found = []
        for key, fd in (("from", 1), ("to", 0)):
            if key not in table:
                self.bad(place, Bad(f'it has no "{key}"', 'write from = "COMMAND:stdout", to = "COMMAND:stdin"'))
                continue
            end = self.value((*place, key), fields.end, table[key])
            if end and end[1] == 1 - fd:
                self.bad((*place, key), Bad(f"{fields.STREAMS[1 - fd]} is at the other end of a pipe"))
            elif end:
                found.append(((*place, key), end))
        return found

    def socket_ends(self, place: Place, table: Mapping[str, object]) -> list[tuple[Place, tuple[str, int]]]:
        words = self.value((*place, "between"), fields.strings, table.get("between"), ())
        if len(words) != 2:
            self.bad((*place, "between"), Bad("it is between two commands", 'write between = ["COMMAND", "COMMAND"]'))
            return []
        ends = [
            ((*place, "between", at), self.value((*place, "between", at), fields.end, word))
            for at, word in enumerate(words)
        ]
        return [(at, end) for at, end in ends if end]

    def end(self, place: Place, end: tuple[str, int], taken: dict[End, str], link: str) -> End | None:
        """The descriptor that an end means, which `taken` gets; None if it cannot be had, which is noted."""
        command, fd = end
        if command not in self.names:
            self.bad(place, unknown("command", command, self.names, list_them=True))
            return None
        if fd < 0:
            fd = next(fd for fd in range(3, 1000) if End(command, fd) not in taken)
        found = End(command, fd)
        if found in taken:
            which = fields.STREAMS[fd] if fd < len(fields.STREAMS) else f"file descriptor {fd}"
            self.bad(place, Bad(f"{which} of {command} is taken by the link {taken[found]}"))
            return None
        taken[found] = link
        return found


def _schema(raw: object) -> None:
    if raw != SCHEMA or isinstance(raw, bool):
        raise Bad("not a group file of this version" if raw else "it is missing", f"write schema = {SCHEMA}")


def _toml(value: object) -> str:
    """A value that was read from TOML, as TOML in one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # A string of JSON is one of TOML, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)
