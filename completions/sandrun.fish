# fish completion for sandrun(1). Made by tools/gen_completions.py: do not edit.

# Print the wrapped command and its arguments, one a line, or fail while there is none yet.
function __sandrun_command
    set -l tokens (commandline -opc) (commandline -ct)
    set -e tokens[1]
    while set -q tokens[1]
        switch $tokens[1]
            case -p --profile --replace --optional --require -r --read -w --write --create -x --execute --deny --deny-write --rule --tmp --home --root --proc --dev --overlay --connect --bind --unix --private --family --deny-endpoint --syscall-default --allow-syscall --deny-syscall --promise --syscall-rule --user --group --groups --capability --ambient --securebits --apparmor --selinux --isolate --tty --hostname --umask --nice --cwd --pass-fd --namespace -e --env --unset-env --rlimit --memory --pids --cpu --io --in --out --timeout --grace --on-exit --overlay-size --status-fd --hold --report
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
            case -p --profile --replace --optional --require -r --read -w --write --create -x --execute --deny --deny-write --rule --tmp --home --root --proc --dev --overlay --connect --bind --unix --private --family --deny-endpoint --syscall-default --allow-syscall --deny-syscall --promise --syscall-rule --user --group --groups --capability --ambient --securebits --apparmor --selinux --isolate --tty --hostname --umask --nice --cwd --pass-fd --namespace -e --env --unset-env --rlimit --memory --pids --cpu --io --in --out --timeout --grace --on-exit --overlay-size --status-fd --hold --report
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
    contains -- "$tokens[2]" profile workspace doctor learn lock report shrink trace up why
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
complete -c sandrun -n __sandrun_first -f -a 'doctor learn lock profile report shrink trace up why workspace'
complete -c sandrun -n '__sandrun_verb_is profile; and test (count (commandline -opc)) -eq 2' -f -a 'list show check schema diff audit'
complete -c sandrun -n '__sandrun_verb_is profile; and test (count (commandline -opc)) -gt 2' -f -a '(__sandrun_profiles)'
complete -c sandrun -n '__sandrun_verb_is workspace; and test (count (commandline -opc)) -eq 2' -f -a 'list diff commit discard'
complete -c sandrun -n '__sandrun_verb_is workspace; and test (count (commandline -opc)) -gt 2' -f -a '(sandrun workspace list --ids 2>/dev/null)'
complete -c sandrun -n '__sandrun_verb; and contains -- -- (commandline -opc)' -x -a '(__sandrun_complete_behind)'
complete -c sandrun -n '__sandrun_plain_verb doctor' -F
complete -c sandrun -n '__sandrun_plain_verb doctor' -l json -d 'Print JSON.'
complete -c sandrun -n '__sandrun_plain_verb learn' -F
complete -c sandrun -n '__sandrun_plain_verb learn' -s o -l output -r -d 'Write the profile to FILE.'
complete -c sandrun -n '__sandrun_plain_verb learn' -l cage -r -d 'What the command may do meanwhile (default: private).'
complete -c sandrun -n '__sandrun_plain_verb learn' -l merge -d 'Extend the profile FILE by what this run needs.'
complete -c sandrun -n '__sandrun_plain_verb learn' -l no-verify -d 'Do not run the command again under the profile.'
complete -c sandrun -n '__sandrun_plain_verb learn' -l compare-output -d 'What both runs print to stdout has to be the same too.'
complete -c sandrun -n '__sandrun_plain_verb learn' -l json -d 'Print JSON.'
complete -c sandrun -n '__sandrun_plain_verb lock' -F
complete -c sandrun -n '__sandrun_plain_verb lock' -l used -r -d 'Add what the run of this --report used.'
complete -c sandrun -n '__sandrun_plain_verb lock' -l check -d 'Write nothing; the status is 1 if the lock differs.'
complete -c sandrun -n '__sandrun_plain_verb lock' -l json -d 'Print JSON.'
complete -c sandrun -n '__sandrun_plain_verb report' -F
complete -c sandrun -n '__sandrun_plain_verb report' -l html -d 'Make a page of HTML: one file that loads nothing.'
complete -c sandrun -n '__sandrun_plain_verb report' -l markdown -d 'Make Markdown, for the job summary of a CI service.'
complete -c sandrun -n '__sandrun_plain_verb report' -s o -l output -r -d 'Write it to OUT, instead of standard output.'
complete -c sandrun -n '__sandrun_plain_verb shrink' -F
complete -c sandrun -n '__sandrun_plain_verb shrink' -l jobs -s j -r -d 'Run N tests at a time.'
complete -c sandrun -n '__sandrun_plain_verb shrink' -l tries -r -d 'Run at most N tests (default: 1000).'
complete -c sandrun -n '__sandrun_plain_verb shrink' -l timeout -r -d 'A test that takes longer than TIME fails.'
complete -c sandrun -n '__sandrun_plain_verb shrink' -l state -r -d 'Keep the answers in the file STATE, and go on from there.'
complete -c sandrun -n '__sandrun_plain_verb shrink' -l inherited -d 'Also leave out what FILE extends, by `replace`.'
complete -c sandrun -n '__sandrun_plain_verb shrink' -l below -d 'Also narrow directories to what below them is enough.'
complete -c sandrun -n '__sandrun_plain_verb shrink' -l repeat -r -d 'Pass only what passes N times.'
complete -c sandrun -n '__sandrun_plain_verb shrink' -l check -d 'Change nothing; the status is 1 if something could go.'
complete -c sandrun -n '__sandrun_plain_verb shrink' -l json -d 'Print JSON.'
complete -c sandrun -n '__sandrun_plain_verb trace' -F
complete -c sandrun -n '__sandrun_plain_verb trace' -l json -d 'Print JSON, as one line.'
complete -c sandrun -n '__sandrun_plain_verb up' -F
complete -c sandrun -n '__sandrun_plain_verb up' -l json -d 'Write events to standard output, as JSON lines.'
complete -c sandrun -n '__sandrun_plain_verb up' -l dry-run -s n -d 'Check FILE, print what would be started, and run nothing.'
complete -c sandrun -n '__sandrun_plain_verb why' -F
complete -c sandrun -n '__sandrun_plain_verb why' -l abi -r -d 'As if the kernel had Landlock ABI N.'
complete -c sandrun -n '__sandrun_plain_verb why' -l json -d 'Print JSON.'
complete -c sandrun -n __sandrun_options -s p -l profile -x -a '(__sandrun_profiles)' -d 'Start from this profile; repeatable. Without it: default. `none` is empty.'
complete -c sandrun -n __sandrun_options -l replace -x -a 'filesystem.read filesystem.write filesystem.create filesystem.execute filesystem.deny filesystem.deny_write filesystem.rules filesystem.tmp filesystem.home filesystem.root filesystem.proc filesystem.dev filesystem.overlay network.connect network.bind network.unix network.loopback network.private network.families network.deny syscalls.default syscalls.allow syscalls.deny syscalls.promises syscalls.rules privileges.user privileges.group privileges.groups privileges.capabilities privileges.ambient privileges.no_new_privs privileges.securebits privileges.apparmor privileges.selinux process.isolate process.tty process.hostname process.umask process.nice process.cwd process.pass_fds process.namespaces environment.pass environment.set environment.unset rlimits resources.memory resources.pids resources.cpu resources.io broker.input broker.output time.timeout time.grace' -d 'Drop what the profiles say for KEY before the flags add to it.'
complete -c sandrun -n __sandrun_options -l optional -x -a 'filesystem.read filesystem.write filesystem.create filesystem.execute filesystem.deny filesystem.deny_write filesystem.rules filesystem.tmp filesystem.home filesystem.root filesystem.proc filesystem.dev filesystem.overlay network.connect network.bind network.unix network.loopback network.private network.families network.deny syscalls.default syscalls.allow syscalls.deny syscalls.promises syscalls.rules privileges.user privileges.group privileges.groups privileges.capabilities privileges.ambient privileges.no_new_privs privileges.securebits privileges.apparmor privileges.selinux process.isolate process.tty process.hostname process.umask process.nice process.cwd process.pass_fds process.namespaces environment.pass environment.set environment.unset rlimits resources.memory resources.pids resources.cpu resources.io broker.input broker.output time.timeout time.grace' -d 'Run even where this kernel cannot keep the protection KEY.'
complete -c sandrun -n __sandrun_options -l require -x -d 'Refuse to run unless the doctor finds FACT, such as landlock>=4.'
complete -c sandrun -n __sandrun_options -s r -l read -r -F -d 'Read files and list directories below PATH.'
complete -c sandrun -n __sandrun_options -s w -l write -r -F -d 'Read and change everything below PATH.'
complete -c sandrun -n __sandrun_options -l create -r -F -d 'As --write, but make PATH first if it is absent.'
complete -c sandrun -n __sandrun_options -s x -l execute -r -F -d 'Read and execute files below PATH.'
complete -c sandrun -n __sandrun_options -l deny -r -F -d 'Nothing at or below PATH, whatever else is granted.'
complete -c sandrun -n __sandrun_options -l deny-write -r -F -d 'Never write at or below PATH.'
complete -c sandrun -n __sandrun_options -l rule -r -F -d 'Landlock rights by name on one path.'
complete -c sandrun -n __sandrun_options -l tmp -x -a 'private host' -d 'A temporary directory of its own, or the host\'s.'
complete -c sandrun -n __sandrun_options -l home -x -a 'hidden private host' -d 'What the command sees of the home directory.'
complete -c sandrun -n __sandrun_options -l root -x -a '(__fish_complete_directories)' -d 'Use DIR as the root directory.'
complete -c sandrun -n __sandrun_options -l proc -x -a 'own host none' -d 'What the command sees of /proc.'
complete -c sandrun -n __sandrun_options -l dev -x -a 'minimal host' -d 'What the command sees of /dev.'
complete -c sandrun -n __sandrun_options -l overlay -x -a '(__fish_complete_directories)' -d 'Changes below DIR go to a workspace, not to the host.'
complete -c sandrun -n __sandrun_options -l connect -x -d 'Connect to ENDPOINT.'
complete -c sandrun -n __sandrun_options -l bind -x -d 'Accept connections on ENDPOINT.'
complete -c sandrun -n __sandrun_options -l unix -r -F -d 'Connect to a unix socket.'
complete -c sandrun -n __sandrun_options -l loopback -f -d 'A loopback interface of its own, the world closed.'
complete -c sandrun -n __sandrun_options -l no-loopback -f -d 'not --loopback'
complete -c sandrun -n __sandrun_options -l private -x -d 'Addresses that allowed host names may resolve to.'
complete -c sandrun -n __sandrun_options -l family -x -a 'unix inet ax25 ipx appletalk netrom bridge atmpvc x25 inet6 rose netbeui security key netlink packet econet atmsvc rds irda pppox llc ib mpls can tipc bluetooth iucv rxrpc isdn phonet ieee802154 caif alg nfc vsock kcm qipcrtr smc xdp mctp' -d 'One more socket address family.'
complete -c sandrun -n __sandrun_options -l deny-endpoint -x -d 'Never this ENDPOINT, whatever else is granted.'
complete -c sandrun -n __sandrun_options -l syscall-default -x -a 'allow errno kill-process log' -d 'What happens to a syscall that nothing names.'
complete -c sandrun -n __sandrun_options -l allow-syscall -x -d 'Allow a syscall, number or @set.'
complete -c sandrun -n __sandrun_options -l deny-syscall -x -d 'Refuse a syscall, number or @set.'
complete -c sandrun -n __sandrun_options -l promise -x -a 'stdio rpath wpath cpath dpath tmppath inet mcast fattr chown flock unix dns getpw sendfd recvfd tape tty proc exec prot_exec settime ps vminfo id pf route wroute audio video bpf unveil error disklabel vmm' -d 'Allow the syscalls of an OpenBSD pledge promise.'
complete -c sandrun -n __sandrun_options -l syscall-rule -x -d 'An action for one syscall by argument.'
complete -c sandrun -n __sandrun_options -l user -x -a '(__fish_complete_users)' -d 'Run as this user (root only).'
complete -c sandrun -n __sandrun_options -l group -x -a '(__fish_complete_groups)' -d 'Run with this primary group (root only).'
complete -c sandrun -n __sandrun_options -l groups -x -a '(__fish_complete_groups)' -d 'A supplementary group (root only).'
complete -c sandrun -n __sandrun_options -l capability -x -a 'CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE' -d 'Keep a capability.'
complete -c sandrun -n __sandrun_options -l ambient -x -a 'CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE' -d 'Keep a capability, also across execve.'
complete -c sandrun -n __sandrun_options -l no-new-privs -f -d 'Set no_new_privs (the default).'
complete -c sandrun -n __sandrun_options -l no-no-new-privs -f -d 'not --no-new-privs'
complete -c sandrun -n __sandrun_options -l securebits -x -a 'noroot no_setuid_fixup keep_caps no_cap_ambient_raise' -d 'Set and lock a securebit.'
complete -c sandrun -n __sandrun_options -l apparmor -x -d 'Change to this AppArmor profile on exec.'
complete -c sandrun -n __sandrun_options -l selinux -x -d 'Change to this SELinux context on exec.'
complete -c sandrun -n __sandrun_options -l isolate -x -a 'true signals false' -d 'Keep other processes out of reach.'
complete -c sandrun -n __sandrun_options -l tty -x -a 'protected new-session pty inherit' -d 'How the terminal is shared.'
complete -c sandrun -n __sandrun_options -l hostname -x -d 'A host name of its own.'
complete -c sandrun -n __sandrun_options -l umask -x -d 'File mode creation mask.'
complete -c sandrun -n __sandrun_options -l nice -x -d 'Nice value, -20 to 19.'
complete -c sandrun -n __sandrun_options -l cwd -x -a '(__fish_complete_directories)' -d 'Start in DIR.'
complete -c sandrun -n __sandrun_options -l pass-fd -x -d 'Keep file descriptor FD open.'
complete -c sandrun -n __sandrun_options -l namespace -x -a 'cgroup ipc mount net pid time user uts' -d 'A namespace of its own (for experts).'
complete -c sandrun -n __sandrun_options -s e -l env -x -a '(set -xn)' -d 'Pass NAME on, or set it.'
complete -c sandrun -n __sandrun_options -l unset-env -x -a '(set -xn)' -d 'Never pass NAME on.'
complete -c sandrun -n __sandrun_options -l rlimit -x -a 'as= core= cpu= data= fsize= memlock= msgqueue= nice= nofile= nproc= rss= rtprio= rttime= sigpending= stack=' -d 'Lower a resource limit of setrlimit(2).'
complete -c sandrun -n __sandrun_options -l memory -x -d 'Memory of the whole tree.'
complete -c sandrun -n __sandrun_options -l pids -x -d 'Number of processes and threads.'
complete -c sandrun -n __sandrun_options -l cpu -x -d 'Processor time, 100% is one processor.'
complete -c sandrun -n __sandrun_options -l io -x -d 'Bytes read and written a second.'
complete -c sandrun -n __sandrun_options -l in -x -d 'Pass a file to read, as input NAME.'
complete -c sandrun -n __sandrun_options -l out -x -d 'Write output NAME to a file, once it is checked.'
complete -c sandrun -n __sandrun_options -l timeout -x -d 'End the command after TIME (status 124).'
complete -c sandrun -n __sandrun_options -l grace -x -d 'From TERM to KILL (default 2s).'
complete -c sandrun -n __sandrun_options -l on-exit -x -a 'ask commit discard keep' -d 'What becomes of what was changed below --overlay (default: keep).'
complete -c sandrun -n __sandrun_options -l overlay-size -x -d 'Never commit more than SIZE.'
complete -c sandrun -n __sandrun_options -l locked -f -d 'Run only under the policy of the profile\'s lock; status 123 if the run needed more.'
complete -c sandrun -n __sandrun_options -s n -l dry-run -f -d 'Print what would be enforced, and how; run nothing.'
complete -c sandrun -n __sandrun_options -l explain -f -d 'Tell what the command was refused, and what it likely failed of.'
complete -c sandrun -n __sandrun_options -l json -f -d 'With --dry-run: print JSON. With --explain: tell it as a line of JSON.'
complete -c sandrun -n __sandrun_options -l status-fd -x -d 'Write events as JSON lines to file descriptor FD.'
complete -c sandrun -n __sandrun_options -l hold -x -d 'Once confined, write to descriptor READY, and start when the full pipe GO is read.'
complete -c sandrun -n __sandrun_options -l report -r -F -d 'Write a JSON record of the run to FILE.'
complete -c sandrun -n __sandrun_options -l exec -f -d 'Become the command: no process of sandrun stays. Only where none is needed.'
complete -c sandrun -n __sandrun_options -s q -l quiet -f -d 'No warnings.'
complete -c sandrun -n __sandrun_options -s v -l verbose -f -d 'Print what is enforced before the command starts.'
complete -c sandrun -n __sandrun_options -l version -f -d 'Print the version.'
complete -c sandrun -n __sandrun_options -s h -l help -f -d 'Print this help.'
