# bash completion for sandrun(1). Made by tools/gen_completions.py: do not edit.

_sandrun_values() {
    local option=$1 cur=$2
    case $option in
        -p | --profile)
            _sandrun_profiles "$cur"
            ;;
        --replace | --optional)
            mapfile -t COMPREPLY < <(compgen -W 'filesystem.read filesystem.write filesystem.create filesystem.execute filesystem.deny filesystem.deny_write filesystem.rules filesystem.tmp filesystem.home filesystem.root filesystem.proc filesystem.dev filesystem.overlay network.connect network.bind network.unix network.loopback network.private network.families network.deny syscalls.default syscalls.allow syscalls.deny syscalls.promises syscalls.rules privileges.user privileges.group privileges.groups privileges.capabilities privileges.ambient privileges.no_new_privs privileges.securebits privileges.apparmor privileges.selinux process.isolate process.tty process.hostname process.umask process.nice process.cwd process.pass_fds process.namespaces environment.pass environment.set environment.unset rlimits resources.memory resources.pids resources.cpu resources.io broker.input broker.output time.timeout time.grace' -- "$cur")
            ;;
        -r | --read | -w | --write | --create | -x | --execute | --deny | --deny-write | --rule | --unix | --report)
            compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            ;;
        --tmp)
            mapfile -t COMPREPLY < <(compgen -W 'private host' -- "$cur")
            ;;
        --home)
            mapfile -t COMPREPLY < <(compgen -W 'hidden private host' -- "$cur")
            ;;
        --root | --overlay | --cwd)
            compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            ;;
        --proc)
            mapfile -t COMPREPLY < <(compgen -W 'own host none' -- "$cur")
            ;;
        --dev)
            mapfile -t COMPREPLY < <(compgen -W 'minimal host' -- "$cur")
            ;;
        --family)
            mapfile -t COMPREPLY < <(compgen -W 'unix inet ax25 ipx appletalk netrom bridge atmpvc x25 inet6 rose netbeui security key netlink packet econet atmsvc rds irda pppox llc ib mpls can tipc bluetooth iucv rxrpc isdn phonet ieee802154 caif alg nfc vsock kcm qipcrtr smc xdp mctp' -- "$cur")
            ;;
        --syscall-default)
            mapfile -t COMPREPLY < <(compgen -W 'allow errno kill-process log' -- "$cur")
            ;;
        --promise)
            mapfile -t COMPREPLY < <(compgen -W 'stdio rpath wpath cpath dpath tmppath inet mcast fattr chown flock unix dns getpw sendfd recvfd tape tty proc exec prot_exec settime ps vminfo id pf route wroute audio video bpf unveil error disklabel vmm' -- "$cur")
            ;;
        --user)
            mapfile -t COMPREPLY < <(compgen -u -- "$cur")
            ;;
        --group | --groups)
            mapfile -t COMPREPLY < <(compgen -g -- "$cur")
            ;;
        --capability | --ambient)
            mapfile -t COMPREPLY < <(compgen -W 'CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE' -- "$cur")
            ;;
        --securebits)
            mapfile -t COMPREPLY < <(compgen -W 'noroot no_setuid_fixup keep_caps no_cap_ambient_raise' -- "$cur")
            ;;
        --isolate)
            mapfile -t COMPREPLY < <(compgen -W 'true signals false' -- "$cur")
            ;;
        --tty)
            mapfile -t COMPREPLY < <(compgen -W 'protected new-session pty inherit' -- "$cur")
            ;;
        --namespace)
            mapfile -t COMPREPLY < <(compgen -W 'cgroup ipc mount net pid time user uts' -- "$cur")
            ;;
        -e | --env | --unset-env)
            mapfile -t COMPREPLY < <(compgen -e -- "$cur")
            ;;
        --rlimit)
            mapfile -t COMPREPLY < <(compgen -W 'as= core= cpu= data= fsize= memlock= msgqueue= nice= nofile= nproc= rss= rtprio= rttime= sigpending= stack=' -- "$cur")
            ;;
        --on-exit)
            mapfile -t COMPREPLY < <(compgen -W 'ask commit discard keep' -- "$cur")
            ;;
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
                    -p | --profile | --replace | --optional | --require | -r | --read | -w | --write | --create | -x | --execute | --deny | --deny-write | --rule | --tmp | --home | --root | --proc | --dev | --overlay | --connect | --bind | --unix | --private | --family | --deny-endpoint | --syscall-default | --allow-syscall | --deny-syscall | --promise | --syscall-rule | --user | --group | --groups | --capability | --ambient | --securebits | --apparmor | --selinux | --isolate | --tty | --hostname | --umask | --nice | --cwd | --pass-fd | --namespace | -e | --env | --unset-env | --rlimit | --memory | --pids | --cpu | --io | --in | --out | --timeout | --grace | --on-exit | --overlay-size | --status-fd | --hold | --report) option=$word ;;
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
        mapfile -t COMPREPLY < <(compgen -W '-p --profile --replace --optional --require -r --read -w --write --create -x --execute --deny --deny-write --rule --tmp --home --root --proc --dev --overlay --connect --bind --unix --loopback --no-loopback --private --family --deny-endpoint --syscall-default --allow-syscall --deny-syscall --promise --syscall-rule --user --group --groups --capability --ambient --no-new-privs --no-no-new-privs --securebits --apparmor --selinux --isolate --tty --hostname --umask --nice --cwd --pass-fd --namespace -e --env --unset-env --rlimit --memory --pids --cpu --io --in --out --timeout --grace --on-exit --overlay-size --locked -n --dry-run --explain --json --status-fd --hold --report --exec -q --quiet -v --verbose --version -h --help' -- "$cur")
    fi
}

_sandrun_command() {
    local at=$1 cur=$2
    if ((at == 1 && COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} == profile ]]; then
        if ((COMP_CWORD == 2)); then
            mapfile -t COMPREPLY < <(compgen -W 'list show check schema diff audit' -- "$cur")
        else
            _sandrun_values --profile "$cur"
        fi
    elif ((at == 1 && COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} == workspace ]]; then
        if ((COMP_CWORD == 2)); then
            mapfile -t COMPREPLY < <(compgen -W 'list diff commit discard' -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -W "$(sandrun workspace list --ids 2>/dev/null)" -- "$cur")
        fi
    elif ((at == 1 && COMP_CWORD > 1)) && [[ ' doctor learn lock report shrink trace up why ' == *" ${COMP_WORDS[1]} "* ]]; then
        _sandrun_verb "$cur"
    elif ((COMP_CWORD == at)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$cur")
        if ((at == 1)); then
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W 'doctor learn lock profile report shrink trace up why workspace' -- "$cur")
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
        doctor) options='--json' ;;
        learn) options='-o --output --cage --merge --no-verify --compare-output --json' ;;
        lock) options='--used --check --json' ;;
        report) options='--html --markdown -o --output' ;;
        shrink) options='--jobs -j --tries --timeout --state --inherited --below --repeat --check --json' ;;
        trace) options='--json' ;;
        up) options='--json --dry-run -n' ;;
        why) options='--abi --json' ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}

complete -F _sandrun sandrun
