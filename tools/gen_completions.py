"""Write completions/: static scripts for bash, zsh and fish, from the tables that the command line itself is made of.

Usage: gen_completions.py [DIRECTORY]. Static, because asking sandrun at each TAB would cost a start of Python. Long, since it
holds three shells' templates, which are to be compared with each other.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from sandrun.cli import VERBS
from sandrun.cli.options import Option, all_options
from sandrun.policy.families import FAMILIES
from sandrun.policy.promises import PROMISES
from sandrun.primitives.caps import NAMES as CAPABILITIES
from sandrun.primitives.caps import SECUREBITS
from sandrun.profile.keys import BY_PATH, KEYS
from sandrun.profile.names import NAMESPACES, RLIMITS

HEADER = "Made by tools/gen_completions.py: do not edit."
PROFILE_VERBS = ("list", "show", "check", "schema", "diff", "audit")
WORKSPACE_VERBS = ("list", "diff", "commit", "discard")
BY_NAME = {
    "--profile": "profile",
    "--replace": "key",
    "--optional": "key",
    "--report": "file",
    "--rule": "file",
    "--env": "variable",
    "--unset-env": "variable",
    "--user": "user",
    "--group": "group",
    "--groups": "group",
}
BY_KIND = {"paths": "file", "unix": "file"}
WORDS = {
    "capabilities": CAPABILITIES,
    "rlimit-table": tuple(f"{name}=" for name in RLIMITS),
    "namespaces": NAMESPACES,
    "families": tuple(FAMILIES),
    "promises": tuple(PROMISES),
    "securebits": tuple(SECUREBITS),
}


def kind(option: Option) -> str:
    """What the value of an option is: file, dir, profile, key, variable, user, group, words, or "" for anything."""
    if words(option):
        return "words"
    if option.name in BY_NAME:
        return BY_NAME[option.name]
    if option.metavar == "DIR":
        return "dir"
    key = BY_PATH.get(option.key)
    return BY_KIND.get(key.kind, "") if key else ""


def words(option: Option) -> tuple[str, ...]:
    """The fixed words that an option takes, if it takes such."""
    key = BY_PATH.get(option.key)
    return option.choices or (WORDS.get(key.kind, ()) if key else ())


def names(option: Option) -> list[str]:
    """The spellings of an option."""
    return [name for name in (option.short, option.name) if name]


def key_paths() -> list[str]:
    """The keys that --optional and --replace take."""
    return [key.path for key in KEYS]


def verb_options() -> dict[str, list[click.Option]]:
    """The options of each verb that has no verbs of its own; its other words are files, and a command behind `--`."""
    commands = {verb: getattr(import_module(module), verb, None) for verb, module in VERBS.items()}
    return {
        verb: [option for option in command.params if isinstance(option, click.Option)]
        for verb, command in commands.items()
        if isinstance(command, click.Command) and not isinstance(command, click.Group)
    }


BASH = r"""# bash completion for sandrun(1). @HEADER@

_sandrun_values() {
    local option=$1 cur=$2
    case $option in
@CASES@
    esac
}

_sandrun_profiles() {
    local cur=$1 name
    compopt -o filenames
    mapfile -t COMPREPLY < <(
        compgen -f -X '!*.toml' -- "$cur"
        compgen -d -- "$cur"
    )
    # Not by compgen -W, which would run a $(command) in a name.
    while read -r name; do
        [[ $name == "$cur"* ]] && COMPREPLY+=("$name")
    done < <(sandrun profile list --names 2>/dev/null)
}

_sandrun() {
    local cur=${COMP_WORDS[COMP_CWORD]} line=$COMP_LINE
    local i=0 start=0 word='' option='' at=0
    COMPREPLY=()
    # Bash splits at = and : too (COMP_WORDBREAKS). `word` is what the user typed as one; `start` is its first piece.
    # `option` is the option whose value `word` is, `at` the piece where the command begins.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if [[ $i -eq 0 || $line == [[:space:]]* ]]; then
            if ((i > 1)) && [[ -z $option ]]; then
                if [[ $word == -- ]]; then at=$i; break; fi
                case $word in
                    @VALUED@) option=$word ;;
                    -*) ;;
                    *) at=$start; break ;;
                esac
            else
                option=
            fi
            word=''
            start=$i
        fi
        line=${line#"${line%%[![:space:]]*}"}
        line=${line#"${COMP_WORDS[i]}"}
        word+=${COMP_WORDS[i]}
    done
    if ((at == 0)) && [[ -z $option && $word != -* ]]; then
        at=$start
    fi
    if ((at > 0)); then
        _sandrun_command "$at" "$cur"
    elif [[ -n $option ]]; then
        _sandrun_values "$option" "$word"
    elif [[ $word == --*=* ]]; then
        _sandrun_values "${word%%=*}" "${word#*=}"
    else
        mapfile -t COMPREPLY < <(compgen -W '@OPTIONS@' -- "$cur")
    fi
}

_sandrun_command() {
    local at=$1 cur=$2
    if ((at == 1 && COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} == profile ]]; then
        if ((COMP_CWORD == 2)); then
            mapfile -t COMPREPLY < <(compgen -W '@PROFILE_VERBS@' -- "$cur")
        else
            _sandrun_values --profile "$cur"
        fi
    elif ((at == 1 && COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} == workspace ]]; then
        if ((COMP_CWORD == 2)); then
            mapfile -t COMPREPLY < <(compgen -W '@WORKSPACE_VERBS@' -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -W "$(sandrun workspace list --ids 2>/dev/null)" -- "$cur")
        fi
    elif ((at == 1 && COMP_CWORD > 1)) && [[ ' @PLAIN_VERBS@ ' == *" ${COMP_WORDS[1]} "* ]]; then
        _sandrun_verb "$cur"
    elif ((COMP_CWORD == at)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$cur")
        if ((at == 1)); then
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W '@VERBS@' -- "$cur")
        fi
        compopt -o filenames
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <([[ $cur == */* ]] && compgen -f -- "$cur")
    elif declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$at"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$at"
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}

_sandrun_verb() {
    local cur=$1 i=0 options=''
    for ((i = 2; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -- ]]; then
            _sandrun_command "$((i + 1))" "$cur"
            return
        fi
    done
    case ${COMP_WORDS[1]} in
@VERB_CASES@
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}

complete -F _sandrun sandrun
"""

BASH_KINDS = {
    "file": 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")',
    "dir": 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur")',
    "profile": '_sandrun_profiles "$cur"',
    "key": "mapfile -t COMPREPLY < <(compgen -W '@KEYS@' -- \"$cur\")",
    "variable": 'mapfile -t COMPREPLY < <(compgen -e -- "$cur")',
    "user": 'mapfile -t COMPREPLY < <(compgen -u -- "$cur")',
    "group": 'mapfile -t COMPREPLY < <(compgen -g -- "$cur")',
}


def bash() -> str:
    """The bash script; it needs no more than bash, and bash-completion for the wrapped command."""
    cases: dict[str, list[str]] = {}
    for option in all_options():
        if not option.metavar or not kind(option):
            continue
        if kind(option) == "words":
            action = f"mapfile -t COMPREPLY < <(compgen -W '{' '.join(words(option))}' -- \"$cur\")"
        else:
            action = BASH_KINDS[kind(option)].replace("@KEYS@", " ".join(key_paths()))
        cases.setdefault(action, []).extend(names(option))
    lines = [
        f"        {' | '.join(spellings)})\n            {action}\n            ;;" for action, spellings in cases.items()
    ]
    options = [name for option in all_options() for name in names(option)]
    valued = [name for option in all_options() if option.metavar for name in names(option)]
    return _fill(
        BASH,
        CASES="\n".join(lines),
        VALUED=" | ".join(valued),
        VERB_CASES="\n".join(
            f"        {verb}) options='{' '.join(name for option in options for name in option.opts)}' ;;"
            for verb, options in verb_options().items()
        ),
        OPTIONS=" ".join(options),
        VERBS=" ".join(VERBS),
        PROFILE_VERBS=" ".join(PROFILE_VERBS),
    )


ZSH = r"""#compdef sandrun
# zsh completion for sandrun(1). @HEADER@

_sandrun_profiles() {
    local -a profiles
    profiles=(${(f)"$(_call_program profiles sandrun profile list --names 2>/dev/null)"})
    _alternative 'profiles:profile:compadd -a profiles' 'files:file:_files -g "*.toml"'
}

_sandrun_keys() {
    compadd -- @KEYS@
}

_sandrun() {
    local curcontext=$curcontext state line
    local -A opt_args
    if (( CURRENT > 2 )) && [[ $words[2] == profile ]]; then
        if (( CURRENT == 3 )); then
            compadd -- @PROFILE_VERBS@
        else
            _sandrun_profiles
        fi
        return
    fi
    if (( CURRENT > 2 )) && [[ $words[2] == workspace ]]; then
        if (( CURRENT == 3 )); then
            compadd -- @WORKSPACE_VERBS@
        else
            compadd -- ${(f)"$(_call_program workspaces sandrun workspace list --ids 2>/dev/null)"}
        fi
        return
    fi
    local -A verb_options=(
@VERB_PAIRS@
    )
    if (( CURRENT > 2 )) && (( $+verb_options[$words[2]] )); then
        if (( $words[(i)--] < CURRENT )); then
            local -i end=$words[(i)--]
            shift $end words
            (( CURRENT -= end ))
            _normal
        elif [[ $words[CURRENT] == -* ]]; then
            compadd -- ${=verb_options[$words[2]]}
        else
            _files
        fi
        return
    fi
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _alternative 'verbs:verb:(@VERBS@)' 'commands:command:_command_names -e'
        return
    fi
    _arguments -s -S \
@SPECS@
        '(-):command: _command_names -e' \
        '*::arguments: _normal'
}

_sandrun "$@"
"""

ZSH_KINDS = {
    "": " ",
    "file": "_files",
    "dir": "_directories",
    "profile": "_sandrun_profiles",
    "key": "_sandrun_keys",
    "variable": "_parameters -g '*export*'",
    "user": "_users",
    "group": "_groups",
}


def zsh() -> str:
    """The zsh script."""
    specs = []
    for option in all_options():
        spelled = names(option)
        many = "*" if option.metavar else ""
        # Single quotes end where the help has one.
        text = (option.help or f"not {option.name.replace('--no-', '--', 1)}").translate(
            {ord("["): "(", ord("]"): ")", ord(":"): "\\:"}
        )
        message = option.metavar.lower().replace(":", "\\:").replace("[", "(").replace("]", ")")
        value = ""
        if option.metavar:
            action = f"({' '.join(words(option))})" if kind(option) == "words" else ZSH_KINDS[kind(option)]
            value = f":{message if kind(option) != 'words' else 'value'}:{action}"
        spec = f"[{text}]{value}".replace("'", "'\\''")
        for name in spelled:
            mark = ("+" if name == option.short else "=") if option.metavar else ""
            specs.append(f"        '{many}{name}{mark}{spec}' \\")
    return _fill(
        ZSH,
        VERB_PAIRS="\n".join(
            f"        {verb} '{' '.join(name for option in options for name in option.opts)}'"
            for verb, options in verb_options().items()
        ),
        SPECS="\n".join(specs),
        KEYS=" ".join(key_paths()),
        VERBS=" ".join(VERBS),
        PROFILE_VERBS=" ".join(PROFILE_VERBS),
    )


FISH = r"""# fish completion for sandrun(1). @HEADER@

# Print the wrapped command and its arguments, one a line, or fail while there is none yet.
function __sandrun_command
    set -l tokens (commandline -opc) (commandline -ct)
    set -e tokens[1]
    while set -q tokens[1]
        switch $tokens[1]
            case @VALUED@
                set -e tokens[1]
                set -e tokens[1]
            case --
                set -e tokens[1]
                break
            case '-*'
                set -e tokens[1]
            case '*'
                break
        end
    end
    set -q tokens[1]; or return 1
    test -n "$tokens[1]"; or return 1
    string join0 -- $tokens
end

# Whether the word at the cursor may still be an option of sandrun.
function __sandrun_options
    set -l tokens (commandline -opc)
    set -e tokens[1]
    while set -q tokens[1]
        switch $tokens[1]
            case @VALUED@
                set -e tokens[1]
                set -e tokens[1]
            case --
                return 1
            case '-*'
                set -e tokens[1]
            case '*'
                return 1
        end
    end
end

function __sandrun_complete_command
    set -l command (__sandrun_command | string split0)
    if set -q command[1]
        __fish_complete_subcommand --commandline $command
    else
        __fish_complete_subcommand --commandline ''
    end
end

function __sandrun_verb
    set -l tokens (commandline -opc)
    contains -- "$tokens[2]" profile workspace @PLAIN_VERBS@
end

# Whether the command line is of this verb, before the -- of its command.
function __sandrun_plain_verb
    set -l tokens (commandline -opc)
    test "$tokens[2]" = "$argv[1]"; and not contains -- -- $tokens
end

# Complete the command behind the -- of a verb.
function __sandrun_complete_behind
    set -l tokens (commandline -opc) (commandline -ct)
    set -l at (contains -i -- -- $tokens)
    __fish_complete_subcommand --commandline $tokens[(math $at + 1)..]
end

function __sandrun_verb_is
    set -l tokens (commandline -opc)
    test "$tokens[2]" = "$argv[1]"
end

function __sandrun_first
    test (count (commandline -opc)) -eq 1
end

function __sandrun_profiles
    sandrun profile list --names 2>/dev/null
    __fish_complete_suffix .toml
end

complete -c sandrun -f
complete -c sandrun -n 'not __sandrun_verb' -x -a '(__sandrun_complete_command)'
complete -c sandrun -n __sandrun_first -f -a '@VERBS@'
complete -c sandrun -n '__sandrun_verb_is profile; and test (count (commandline -opc)) -eq 2' -f -a '@PROFILE_VERBS@'
complete -c sandrun -n '__sandrun_verb_is profile; and test (count (commandline -opc)) -gt 2' -f -a '(__sandrun_profiles)'
complete -c sandrun -n '__sandrun_verb_is workspace; and test (count (commandline -opc)) -eq 2' -f -a '@WORKSPACE_VERBS@'
complete -c sandrun -n '__sandrun_verb_is workspace; and test (count (commandline -opc)) -gt 2' -f -a '(sandrun workspace list --ids 2>/dev/null)'
complete -c sandrun -n '__sandrun_verb; and contains -- -- (commandline -opc)' -x -a '(__sandrun_complete_behind)'
@VERB_SPECS@
@SPECS@
"""

FISH_KINDS = {
    "": "-x",
    "file": "-r -F",
    "dir": "-x -a '(__fish_complete_directories)'",
    "profile": "-x -a '(__sandrun_profiles)'",
    "key": "-x -a '@KEYS@'",
    "variable": "-x -a '(set -xn)'",
    "user": "-x -a '(__fish_complete_users)'",
    "group": "-x -a '(__fish_complete_groups)'",
}


def fish() -> str:
    """The fish script."""
    specs = []
    for option in all_options():
        text = (option.help or f"not {option.name.replace('--no-', '--', 1)}").replace("'", "\\'")
        short = f" -s {option.short[1:]}" if option.short else ""
        value = "-f"
        if option.metavar:
            is_words = kind(option) == "words"
            value = f"-x -a '{' '.join(words(option))}'" if is_words else FISH_KINDS[kind(option)]
        specs.append(f"complete -c sandrun -n __sandrun_options{short} -l {option.name[2:]} {value} -d '{text}'")
    valued = [name for option in all_options() if option.metavar for name in names(option)]
    return _fill(
        FISH,
        VERB_SPECS="\n".join(line for verb in verb_options() for line in _fish_verb(verb)),
        SPECS="\n".join(specs),
        VALUED=" ".join(valued),
        KEYS=" ".join(key_paths()),
        VERBS=" ".join(VERBS),
        PROFILE_VERBS=" ".join(PROFILE_VERBS),
    )


def _fish_verb(verb: str) -> list[str]:
    """The options of a verb, and files."""
    condition = f"complete -c sandrun -n '__sandrun_plain_verb {verb}'"
    lines = [f"{condition} -F"]
    for option in verb_options()[verb]:
        flags = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.opts)
        text = (option.help or "").replace("'", "\\'")
        lines.append(f"{condition} {flags}{'' if option.is_flag else ' -r'} -d '{text}'")
    return lines


def _fill(template: str, **values: str) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    template = template.replace("@PLAIN_VERBS@", " ".join(verb_options()))
    template = template.replace("@WORKSPACE_VERBS@", " ".join(WORKSPACE_VERBS))
    return template.replace("@KEYS@", " ".join(key_paths())).replace("@HEADER@", HEADER)


SCRIPTS = {"sandrun.bash": bash, "_sandrun": zsh, "sandrun.fish": fish}


def main(folder: Path) -> None:
    """Write every script into `folder`."""
    folder.mkdir(exist_ok=True)
    for name, make in SCRIPTS.items():
        (folder / name).write_text(make())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "completions"))
