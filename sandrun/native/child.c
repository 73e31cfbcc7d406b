/* What the child of a launch does, from the fork to execve(2). Twin of sandrun/steps.py, which has the same steps in
 * the same order. Each is one or two calls on what the parent made ready.
 *
 * In a pid namespace the first child, the maker, makes the namespaces; it starts the init process, which is the
 * namespace's first and must outlive the command, and then the one that walks the other steps and executes the command;
 * and it ends. CLONE_PARENT makes both of them direct children of the parent, so it waits for the command, stops it and
 * sees its end as it does without namespaces.
 *
 * It is long for the reason of its twin: the steps, their order and the reasons for it are read in one place.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FORKING = CLONE_NEWPID | CLONE_NEWTIME /* unshare(2) makes these for the children only */, SIGNALS = 64 };

/* --- in the parent --- */

/* The overlays of a view. */
static size_t count_overlays(const struct plan *plan)
{
    size_t count = 0;
    for (size_t at = 0; at < plan->view.count; at++)
        count += plan->view.at[at].operation == VIEW_OVERLAY ? 1 : 0;
    return count;
}

/* What takes a supervisor in Python: whether that has given all of it, and nothing else. */
static bool is_given(const struct plan *plan, const struct given *given)
{
    bool is_observed = plan->observe.size > 0, is_brokered = plan->broker_filter.size > 0;
    return (plan->egress.size > 0) == (given->relay >= 0) && !(is_observed && is_brokered) &&
           (is_observed || is_brokered) == (given->calls >= 0) && is_observed == (given->place != 0) &&
           (plan->id_helpers.count > 0) == (given->answer >= 0) &&
           (plan->cgroup_way != CGROUP_NONE) == (given->groups.count > 0) &&
           given->overlays.count == 2 * count_overlays(plan) && given->private.count == plan->private_dirs.count;
}

/* What only the Python executor does. A field that was not looked at would be a protection that is lost in silence. */
static bool is_served(const struct plan *plan, const struct given *given)
{
    if ((plan->namespaces | plan->landlock_flags | plan->seccomp_flags) >> 32 != 0)
        return false;
    if (given)
        return is_given(plan, given);
    if (count_overlays(plan) > 0)
        return false;
    return plan->tty != TTY_PTY && !plan->egress.size && !plan->publish.count && !plan->broker_filter.size &&
           !plan->observe.size && !plan->id_helpers.count && !plan->apparmor.size && !plan->selinux.size &&
           !plan->dynamic && plan->cgroup_way == CGROUP_NONE;
}

/* One with close-on-exec did not come from the caller, since it would not have survived our own start: it is ours,
 * which the command must never get. */
static bool may_pass(int64_t fd)
{
    int flags = fd >= 0 && fd <= INT_MAX ? fcntl((int)fd, F_GETFD) : -1;
    return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* A socket stays in the network namespace where it was made, and who holds it may connect it anew to anything there.
 * So a command with a network of its own gets no socket of ours but unix ones. */
static bool leads_outside(int64_t fd)
{
    int family;
    socklen_t size = sizeof family;
    if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0)
        return errno != ENOTSOCK && errno != EBADF;
    return family != AF_UNIX;
}

static bool check_descriptors(const struct plan *plan)
{
    for (size_t at = 0; at < plan->pass_fds.count; at++) {
        int64_t fd = plan->pass_fds.at[at];
        if (!may_pass(fd) || (plan->loopback && leads_outside(fd)))
            return false;
    }
    return !plan->loopback || !(leads_outside(0) || leads_outside(1) || leads_outside(2));
}

bool hold_close_on_exec(const struct plan *plan, bool on)
{
    for (size_t at = 0; at < plan->hold.count; at++) {
        if (fcntl((int)plan->hold.at[at], F_SETFD, on ? FD_CLOEXEC : 0) != 0)
            return false;
    }
    return true;
}

static uint64_t least(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* Python's module has no number between these, and both executors are to set the same. */
static uint64_t as_in_python(uint64_t limit)
{
    return limit >= INT64_MAX ? UINT64_MAX : limit;
}

/* The limits to set, each clamped to what is in force now: raising one is never what a sandbox is asked for. */
static bool prepare_limits(struct job *job)
{
    const struct triples *wanted = &job->plan->rlimits;
    job->limits = must_alloc(wanted->count, sizeof *job->limits);
    for (size_t at = 0; at < wanted->count; at++) {
        struct triple triple = wanted->at[at];
        uint64_t now[2];
        if (triple.first > INT_MAX || syscall(SYS_prlimit64, 0, (int)triple.first, NULL, now) != 0)
            return false;
        /* One byte of core dump is none, and stops those that go to a program, which 0 does not (core(5)). */
        uint64_t none = triple.first == RLIMIT_CORE && triple.second == 1 ? 1 : 0;
        uint64_t hard = least(triple.third, now[1]);
        uint64_t soft = least(triple.second, now[0] > none ? now[0] : none);
        job->limits[at] = (struct limit){(int)triple.first, {as_in_python(least(soft, hard)), as_in_python(hard)}};
    }
    return true;
}

static bool prepare_filters(struct job *job)
{
    const struct strings *programs = &job->plan->seccomp;
    job->filters = must_alloc(programs->count, sizeof *job->filters);
    for (size_t at = 0; at < programs->count; at++) {
        size_t size = programs->at[at].size, length = size / sizeof(struct sock_filter);
        if (size == 0 || size % sizeof(struct sock_filter) != 0 || length > BPF_MAXINSNS)
            return false;
        /* The kernel only reads it. */
        struct sock_filter *program = (struct sock_filter *)(uintptr_t)programs->at[at].data;
        job->filters[at] = (struct sock_fprog){(unsigned short)length, program};
    }
    return true;
}

static int ascending(const void *one, const void *other)
{
    int a = *(const int *)one, b = *(const int *)other;
    return (a > b) - (a < b);
}

static void keep(struct job *job, int fd)
{
    if (fd >= 0)
        job->kept[job->kept_count++] = fd;
}

static void prepare_descriptors(struct job *job)
{
    const struct integers *passed = &job->plan->pass_fds;
    const struct integers *hold = &job->plan->hold;
    job->kept = must_alloc(passed->count + hold->count + 11, sizeof *job->kept);
    for (int fd = 0; fd < 3; fd++)
        keep(job, fd);
    for (size_t at = 0; at < passed->count; at++)
        keep(job, (int)passed->at[at]);
    for (size_t at = 0; at < hold->count; at++)
        keep(job, (int)hold->at[at]);
    keep(job, job->error_fd);
    keep(job, job->supervisor);
    keep(job, job->ruleset_fd);
    keep(job, job->has_init ? job->init.reader : -1);
    keep(job, job->given ? job->given->calls : -1);
    keep(job, job->label_fds[0]);
    keep(job, job->label_fds[1]);
    keep(job, job->watch->go > 0 ? job->watch->go : -1);
    qsort(job->kept, job->kept_count, sizeof *job->kept, ascending);
}

/* argv and the path of execve(2). */
static bool prepare_command(struct job *job)
{
    const struct strings *words = &job->plan->argv;
    job->argv = must_alloc(words->count + 1, sizeof *job->argv);
    for (size_t at = 0; at < words->count; at++)
        job->argv[at] = (char *)(uintptr_t)words->at[at].data;
    return job->plan->executable.size > 0 && words->count > 0;
}

/* All but the descriptors that have to be opened. */
static bool prepare(struct job *job)
{
    return is_served(job->plan, job->given) && check_descriptors(job->plan) && hold_close_on_exec(job->plan, true) &&
           credentials_prepare(job->plan, &job->capabilities) && prepare_limits(job) && prepare_filters(job) &&
           prepare_command(job);
}

struct job *job_of(const struct given *given)
{
    const struct strings *words = &given->environment;
    char **environment = must_alloc(words->count + 1, sizeof *environment);
    for (size_t at = 0; at < words->count; at++)
        environment[at] = (char *)(uintptr_t)words->at[at].data;
    struct job *job = must_alloc(1, sizeof *job);
    *job = (struct job){.plan = &given->plan, .given = given, .watch = &given->watch, .private = &given->private,
                        .environment = environment, .error_fd = given->error_fd, .supervisor = given->supervisor,
                        .ruleset_fd = -1, .label_fds = {-1, -1}, .call = raw_call};
    if (!prepare(job) || !labels_prepare(job) || !shown_prepare(job))
        return NULL;
    if (given->plan.namespaces & CLONE_NEWPID) {
        if (!(job->has_init = init_prepare(&job->init)))
            return NULL;
        job->init.held = given->held;
    }
    job->ruleset_fd = rules_create(&given->plan, &given->private);
    if (job->ruleset_fd == -2)
        return NULL;
    prepare_descriptors(job);
    return job;
}

struct job *job_prepare(const struct plan *plan, const struct watch *watch, char **environment,
                        const struct strings *private, int error_fd)
{
    if (watch->alone && plan->namespaces & FORKING)
        return NULL;
    struct job *job = must_alloc(1, sizeof *job);
    *job = (struct job){.plan = plan, .watch = watch, .private = private, .environment = environment,
                        .error_fd = error_fd, .supervisor = -1, .ruleset_fd = -1, .label_fds = {-1, -1},
                        .call = raw_call};
    if (!prepare(job))
        return NULL;
    if (!watch->alone && (job->supervisor = (int)syscall(SYS_pidfd_open, getpid(), 0)) < 0)
        return NULL;
    if (plan->namespaces & CLONE_NEWPID && !(job->has_init = init_prepare(&job->init))) {
        job_close(job);
        return NULL;
    }
    job->ruleset_fd = watch->go ? rules_begin(plan) : rules_create(plan, private);
    if (job->ruleset_fd == -2) {
        job_close(job);
        return NULL;
    }
    prepare_descriptors(job);
    return job;
}

bool job_finish(const struct job *job, enum share share)
{
    return !job->watch->go || job->ruleset_fd < 0 || rules_fill(job->ruleset_fd, job->plan, job->private, share);
}

void job_close(struct job *job)
{
    if (job->supervisor >= 0)
        close(job->supervisor);
    if (job->ruleset_fd >= 0)
        close(job->ruleset_fd);
    if (job->has_init)
        init_close(&job->init);
}

/* --- the steps: false with errno set, or 0 where the kernel said yes and holds something else --- */

static bool signals(struct job *job);
static bool die_with_supervisor(struct job *job);

bool tell(const struct job *job, int step, int number, int argument)
{
    struct told told = {step, number, argument};
    long size = job->call(SYS_write, job->error_fd, (long)(intptr_t)&told, sizeof told, 0, 0, 0);
    if (size < 0)
        errno = (int)-size;
    return size == (long)sizeof told;
}

static bool join_groups(struct job *job)
{
    for (size_t at = 0; job->given && at < job->given->groups.count; at++) {
        if (write((int)job->given->groups.at[at], "0", 1) != 1)
            return false;
    }
    return true;
}

/* A copy of this process, as fork(2) makes it, but a child of our parent. */
static pid_t clone_beside(void)
{
    return (pid_t)syscall(SYS_clone, (unsigned long)(CLONE_PARENT | SIGCHLD), 0UL, 0UL, 0UL, 0UL);
}

static bool set_disposition(int signal, uintptr_t handler)
{
    /* struct sigaction of the kernel, with neither flags nor mask. The C library refuses the two signals that it uses
     * itself (nptl(7)). */
    const uintptr_t action[4] = {handler};
    return syscall(SYS_rt_sigaction, signal, action, NULL, sizeof(uint64_t)) == 0;
}

/* What the command could get at in its namespace, so no less confined than it: the same ids and capabilities. */
static bool be_init(struct job *job)
{
    if (chdir("/") < 0 || !signals(job) || !set_disposition(SIGCHLD, (uintptr_t)SIG_IGN))
        return false;
    if (!drop_bounding_set(job) || !set_groups(job) || !set_gid(job) || !set_uid(job) || !set_capabilities(job) ||
        !verify_credentials(job))
        return false;
    return control(PR_SET_DUMPABLE, 0, 0) == 0 && die_with_supervisor(job) && init_sleep(&job->init);
}

/* The maker starts what lives in the namespaces and ends; only the process of the command returns. */
static bool start_init(struct job *job)
{
    if (!(job->plan->namespaces & FORKING))
        return true;
    if (job->has_init) {
        pid_t init = clone_beside();
        if (init == 0)
            return be_init(job);
        if (init < 0 || !tell(job, TOLD_INIT, 0, init))
            return false;
        close(job->init.writer);
    }
    pid_t command = clone_beside();
    if (command > 0 && tell(job, TOLD_COMMAND, 0, command))
        _exit(0);
    return command == 0;
}

/* Wait until the parent has asked again what the plan was made from. It does so while this process does what is nobody's
 * business but its own: no file is made and no command executed before. */
static bool await_go(struct job *job)
{
    char byte;
    errno = ECANCELED;
    job->may_go = job->may_go || !job->watch->go || read(job->watch->go, &byte, 1) == 1;
    return job->may_go;
}

static bool view(struct job *job)
{
    const struct strings *overlays = job->given ? &job->given->overlays : NULL;
    if (job->plan->view.count)
        return (!view_makes_files(job->plan) || await_go(job)) &&
               view_make(job->plan, job->private, overlays, job->ruleset_fd, &job->argument);
    if (!(job->plan->namespaces & CLONE_NEWNS))
        return true;
    return keep_mounts() && (!(job->plan->namespaces & CLONE_NEWPID) || mount_proc());
}

static bool hostname(struct job *job)
{
    return !job->plan->hostname.size || sethostname(job->plan->hostname.data, job->plan->hostname.size) == 0;
}

static bool loopback(struct job *job)
{
    if (job->given && job->given->relay >= 0)
        return furnish(job);
    return !job->plan->loopback || set_up_loopback();
}

static bool terminal(struct job *job)
{
    if (job->watch->new_session)
        return setsid() >= 0;
    if (!job->watch->own_group)
        return true;
    return setpgid(0, 0) == 0 && (!job->watch->foreground || tcsetpgrp(job->watch->terminal, getpid()) == 0);
}

static bool descriptors(struct job *job)
{
    unsigned first = 0;
    for (size_t at = 0; at < job->kept_count; at++) {
        unsigned kept = (unsigned)job->kept[at];
        if (kept > first && syscall(SYS_close_range, first, kept - 1, 0) != 0)
            return false;
        first = kept + 1;
    }
    return syscall(SYS_close_range, first, UINT32_MAX, 0) == 0;
}

static bool signals(struct job *job)
{
    for (int signal = 1; signal <= SIGNALS; signal++) {
        if (signal == SIGKILL || signal == SIGSTOP || job->watch->ignored >> (signal - 1) & 1)
            continue;
        job->argument = signal;
        if (!set_disposition(signal, (uintptr_t)SIG_DFL))
            return false;
    }
    const uint64_t none = 0;
    return syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none) == 0;
}

static bool umask_and_nice(struct job *job)
{
    if (job->plan->umask != KEEP)
        umask((mode_t)job->plan->umask);
    return job->plan->nice == NICE_KEEP || setpriority(PRIO_PROCESS, 0, (int)job->plan->nice) == 0;
}

static bool working_directory(struct job *job)
{
    return !job->plan->cwd.size || chdir(job->plan->cwd.data) == 0;
}

static bool die_with_supervisor(struct job *job)
{
    if (job->supervisor < 0)
        return true;
    if (control(PR_SET_PDEATHSIG, SIGKILL, 0) != 0)
        return false;
    /* Before Linux 6.18 a supervisor that is just ending may have missed this, and not show its end yet. It does both
     * under a lock that this call takes as well: what it answers is of no interest. */
    errno = 0;
    if (getpriority(PRIO_PGRP, 0) == -1 && errno != 0)
        return false;
    struct pollfd supervisor = {job->supervisor, POLLIN, 0};
    int gone = poll(&supervisor, 1, 0);
    if (gone > 0)
        errno = ESRCH;
    return gone == 0;
}

static bool await_init(struct job *job)
{
    char byte;
    errno = ECHILD;
    return (!job->has_init || read(job->init.reader, &byte, 1) == 1) && await_go(job);
}

static bool limits(struct job *job)
{
    for (size_t at = 0; at < job->plan->rlimits.count; at++) {
        job->argument = job->limits[at].resource;
        if (syscall(SYS_prlimit64, 0, job->limits[at].resource, job->limits[at].value, NULL) != 0)
            return false;
    }
    return true;
}

static bool no_new_privs(struct job *job)
{
    return !job->plan->no_new_privs || control(PR_SET_NO_NEW_PRIVS, 1, 0) == 0;
}

static bool landlock(struct job *job)
{
    return job->ruleset_fd < 0 ||
           syscall(SYS_landlock_restrict_self, job->ruleset_fd, (uint32_t)job->plan->landlock_flags) == 0;
}

static bool seccomp(struct job *job)
{
    for (size_t at = 0; at < job->plan->seccomp.count; at++) {
        job->argument = (int)at;
        long flags = (long)job->plan->seccomp_flags, program = (long)(intptr_t)&job->filters[at];
        long result = job->call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program, 0, 0, 0);
        if (result != 0) {
            errno = (int)-result;
            return false;
        }
    }
    return true;
}

/* To wait is to write into a pipe that is full: the filter may refuse to read. */
static bool hold(struct job *job)
{
    for (size_t at = 0; at < job->plan->hold.count; at++) {
        job->argument = (int)job->plan->hold.at[at];
        long size = job->call(SYS_write, job->argument, (long)(intptr_t)"\n", 1, 0, 0, 0);
        errno = size < 0 ? (int)-size : 0;
        if (size != 1)
            return false;
    }
    return true;
}

static bool execute(struct job *job)
{
    long executable = (long)(intptr_t)job->plan->executable.data, argv = (long)(intptr_t)job->argv;
    errno = (int)-job->call(SYS_execve, executable, argv, (long)(intptr_t)job->environment, 0, 0, 0);
    return false;
}

struct step { const char *name; bool (*take)(struct job *job); };

/* As CHILD_STEPS in sandrun/steps.py, which has the reasons for the order. */
static const struct step steps[] = {
    {"join the control group", join_groups},
    {"make namespaces", make_namespaces},
    {"start the init process", start_init},
    {"open the security label", open_labels},
    {"make the view", view},
    {"set the host name", hostname},
    {"set up the loopback interface", loopback},
    {"set up the terminal", terminal},
    {"close file descriptors", descriptors},
    {"reset signals", signals},
    {"set umask and nice value", umask_and_nice},
    {"drop the bounding set", drop_bounding_set},
    {"set groups", set_groups},
    {"set gid", set_gid},
    {"set uid", set_uid},
    {"set capabilities", set_capabilities},
    {"verify ids and capabilities", verify_credentials},
    {"enter the working directory", working_directory},
    {"die with the supervisor", die_with_supervisor},
    {"wait for the init process", await_init},
    {"set resource limits", limits},
    {"set the security label", set_labels},
    {"set no_new_privs", no_new_privs},
    {"enter the Landlock ruleset", landlock},
    {"show system calls to the supervisor", show_calls},
    {"load the seccomp filter", seccomp},
    {"wait to be let go", hold},
    {"execute", execute},
};

struct told child_become(struct job *job)
{
    int32_t step = 0;
    for (;; step++) {
        job->argument = 0;
        if (!steps[step].take(job))
            return (struct told){step, errno, job->argument};
    }
}

const char *step_name(int step)
{
    return steps[step].name;
}

/* This program was executed itself, so the mark by which a supervisor in Python sees that the command has been,
 * PF_FORKNOEXEC, takes a fork: before all steps, since the control group may have room for the command alone. */
static void fork_once(struct job *job)
{
    pid_t command = clone_beside();
    if (command > 0)
        _exit(0);
    (void)tell(job, command < 0 ? TOLD_NOT_SERVED : TOLD_COMMAND, errno, getpid());
    if (command < 0)
        _exit(125);
}

void child_walk(struct job *job)
{
    if (job->given && !(job->plan->namespaces & FORKING))
        fork_once(job);
    /* While this is still the parent's namespace. Where it fails nobody asks which step it was. */
    struct told told = job_finish(job, SECOND_HALF) ? child_become(job) : (struct told){0, errno, 0};
    tell(job, told.step, told.number, told.argument);
    for (;;)
        job->call(SYS_exit_group, 125, 0, 0, 0, 0, 0);
}
