"""The one declaration of every key: its type, merge rule, option, help and first version.

Validation, the click options, completion, the JSON schema and the documentation test are all made from `KEYS`. A new
setting starts here. `kind` names a reader in `values.READERS`.
"""

from __future__ import annotations

from sandrun.named import NamedTuple

UNION = "union"
"""Lists are united, in order, without repetition."""
LAST = "last"
"""The later layer wins."""
TABLE = "table"
"""A table of names; each name by itself follows LAST."""


class Key(NamedTuple):
    """One key of the profile language and the option that mirrors it."""

    path: str
    kind: str
    merge: str
    option: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    short: str = ""
    protection: bool = True
    """Whether `optional` may name it: it states something that a kernel could fail to enforce."""
    since: str = "1.0"

    @property
    def table(self) -> str:
        return self.path.partition(".")[0]


KEYS: tuple[Key, ...] = (
    Key("filesystem.read", "paths", UNION, "--read", "Read files and list directories below PATH.", "PATH", short="-r"),
    Key("filesystem.write", "paths", UNION, "--write", "Read and change everything below PATH.", "PATH", short="-w"),
    Key("filesystem.create", "paths", UNION, "--create", "As --write, but make PATH first if it is absent.", "PATH"),
    Key("filesystem.execute", "paths", UNION, "--execute", "Read and execute files below PATH.", "PATH", short="-x"),
    Key("filesystem.deny", "paths", UNION, "--deny", "Nothing at or below PATH, whatever else is granted.", "PATH"),
    Key("filesystem.deny_write", "paths", UNION, "--deny-write", "Never write at or below PATH.", "PATH"),
    Key("filesystem.rules", "rules", UNION, "--rule", "Landlock rights by name on one path.", "PATH=RIGHT[+RIGHT...]"),
    Key(
        "filesystem.tmp",
        "enum",
        LAST,
        "--tmp",
        "A temporary directory of its own, or the host's.",
        choices=("private", "host"),
    ),
    Key(
        "filesystem.home",
        "enum",
        LAST,
        "--home",
        "What the command sees of the home directory.",
        choices=("hidden", "private", "host"),
    ),
    Key("filesystem.root", "path", LAST, "--root", "Use DIR as the root directory.", "DIR"),
    Key("filesystem.proc", "enum", LAST, "--proc", "What the command sees of /proc.", choices=("own", "host", "none")),
    Key("filesystem.dev", "enum", LAST, "--dev", "What the command sees of /dev.", choices=("minimal", "host")),
    Key(
        "filesystem.overlay",
        "paths",
        UNION,
        "--overlay",
        "Changes below DIR go to a workspace, not to the host.",
        "DIR",
    ),
    Key("network.connect", "endpoints", UNION, "--connect", "Connect to ENDPOINT.", "ENDPOINT"),
    Key("network.bind", "endpoints", UNION, "--bind", "Accept connections on ENDPOINT.", "ENDPOINT"),
    Key("network.unix", "unix", UNION, "--unix", "Connect to a unix socket.", "PATH|abstract:NAME"),
    Key("network.loopback", "bool", LAST, "--loopback", "A loopback interface of its own, the world closed."),
    Key("network.private", "cidrs", UNION, "--private", "Addresses that allowed host names may resolve to.", "CIDR"),
    Key("network.families", "families", UNION, "--family", "One more socket address family.", "FAMILY"),
    Key(
        "network.deny",
        "endpoints",
        UNION,
        "--deny-endpoint",
        "Never this ENDPOINT, whatever else is granted.",
        "ENDPOINT",
    ),
    Key(
        "syscalls.default",
        "enum",
        LAST,
        "--syscall-default",
        "What happens to a syscall that nothing names.",
        choices=("allow", "errno", "kill-process", "log"),
    ),
    Key("syscalls.allow", "syscalls", UNION, "--allow-syscall", "Allow a syscall, number or @set.", "NAME"),
    Key("syscalls.deny", "syscalls", UNION, "--deny-syscall", "Refuse a syscall, number or @set.", "NAME"),
    Key(
        "syscalls.promises",
        "promises",
        UNION,
        "--promise",
        "Allow the syscalls of an OpenBSD pledge promise.",
        "PROMISE",
    ),
    Key(
        "syscalls.rules",
        "syscall-rules",
        UNION,
        "--syscall-rule",
        "An action for one syscall by argument.",
        "NAME:ARG:OP:VALUE:ACTION",
    ),
    Key("privileges.user", "user", LAST, "--user", "Run as this user (root only).", "USER"),
    Key("privileges.group", "group", LAST, "--group", "Run with this primary group (root only).", "GROUP"),
    Key("privileges.groups", "groups", UNION, "--groups", "A supplementary group (root only).", "GROUP"),
    Key("privileges.capabilities", "capabilities", UNION, "--capability", "Keep a capability.", "CAP"),
    Key("privileges.ambient", "capabilities", UNION, "--ambient", "Keep a capability, also across execve.", "CAP"),
    Key("privileges.no_new_privs", "bool", LAST, "--no-new-privs", "Set no_new_privs (the default)."),
    Key("privileges.securebits", "securebits", UNION, "--securebits", "Set and lock a securebit.", "BIT"),
    Key("privileges.apparmor", "string", LAST, "--apparmor", "Change to this AppArmor profile on exec.", "PROFILE"),
    Key("privileges.selinux", "string", LAST, "--selinux", "Change to this SELinux context on exec.", "CONTEXT"),
    Key(
        "process.isolate",
        "isolate",
        LAST,
        "--isolate",
        "Keep other processes out of reach.",
        choices=("true", "signals", "false"),
    ),
    Key(
        "process.tty",
        "enum",
        LAST,
        "--tty",
        "How the terminal is shared.",
        choices=("protected", "new-session", "pty", "inherit"),
    ),
    Key("process.hostname", "string", LAST, "--hostname", "A host name of its own.", "NAME"),
    Key("process.umask", "octal", LAST, "--umask", "File mode creation mask.", "OCTAL", protection=False),
    Key("process.nice", "nice", LAST, "--nice", "Nice value, -20 to 19.", "N", protection=False),
    Key("process.cwd", "path", LAST, "--cwd", "Start in DIR.", "DIR", protection=False),
    Key("process.pass_fds", "fds", UNION, "--pass-fd", "Keep file descriptor FD open.", "FD", protection=False),
    Key("process.namespaces", "namespaces", UNION, "--namespace", "A namespace of its own (for experts).", "TYPE"),
    Key(
        "environment.pass",
        "env-names",
        UNION,
        "--env",
        "Pass NAME on, or set it.",
        "NAME[=VALUE]",
        short="-e",
        protection=False,
    ),
    Key("environment.set", "env-table", TABLE, "", "Variables to set.", protection=False),
    Key("environment.unset", "env-names", UNION, "--unset-env", "Never pass NAME on.", "NAME", protection=False),
    Key("rlimits", "rlimit-table", TABLE, "--rlimit", "Lower a resource limit of setrlimit(2).", "NAME=SOFT[:HARD]"),
    Key("resources.memory", "size", LAST, "--memory", "Memory of the whole tree.", "SIZE"),
    Key("resources.pids", "count", LAST, "--pids", "Number of processes and threads.", "N"),
    Key("resources.cpu", "percent", LAST, "--cpu", "Processor time, 100% is one processor.", "PERCENT"),
    Key("resources.io", "size", LAST, "--io", "Bytes read and written a second.", "SIZE"),
    Key(
        "broker.input",
        "broker-input",
        UNION,
        "--in",
        "Pass a file to read, as input NAME.",
        "NAME=PATH",
        protection=False,
    ),
    Key(
        "broker.output",
        "broker-output",
        UNION,
        "--out",
        "Write output NAME to a file, once it is checked.",
        "NAME=PATH",
        protection=False,
    ),
    Key(
        "time.timeout",
        "duration",
        LAST,
        "--timeout",
        "End the command after TIME (status 124).",
        "TIME",
        protection=False,
    ),
    Key("time.grace", "duration", LAST, "--grace", "From TERM to KILL (default 2s).", "TIME", protection=False),
)

TOP_KEYS: tuple[tuple[str, str, str], ...] = (
    ("schema", "The version of the profile language: 1.", "integer"),
    ("description", "One line for `sandrun profile list`.", "string"),
    ("extends", "Profiles this one starts from: names, or paths relative to this file.", "string or array"),
    ("replace", "Key paths whose inherited values are dropped first.", "array"),
    ("optional", "Key paths that may be lost where the kernel cannot keep them.", "array"),
    ("require", "What `sandrun doctor` must find here: `landlock>=4`, `userns`.", "array"),
)
"""The keys above the tables: name, help, TOML type."""

BY_PATH: dict[str, Key] = {key.path: key for key in KEYS}
TABLES: tuple[str, ...] = tuple(dict.fromkeys(key.table for key in KEYS))
