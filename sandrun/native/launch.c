/* Launch a plan: become its supervisor, start its command, and wait until it runs.
 *
 * Twin of sandrun/watch.py and sandrun/launch.py, where the reasons are told at length. What fails here leaves nothing
 * behind, and is left to Python, which does it again and says what is wrong.
 */
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { EXIT_SANDRUN = 125, EXIT_CANNOT_EXECUTE = 126, EXIT_NOT_FOUND = 127 };
enum { LAUNCH_VERSION = 1 };
#define LAUNCH_MAGIC "SRLAUNCH"
static const int KEPT_IGNORED[] = {SIGHUP, SIGINT, SIGQUIT}; /* nohup(1), and `&` in a shell without job control */

/* --- the document of sandrun/native/handoff.py ------------------------------------------------------------------------------- */

void launch_empty(struct launch *launch)
{
    *launch = (struct launch){.status_fd = -1, .report_directory = -1};
}

static int read_fd(struct reader *in)
{
    uint64_t number = reader_u64(in);
    return number <= INT32_MAX ? (int)number : -1;
}

bool launch_read(const uint8_t *data, size_t size, struct launch *launch)
{
    const size_t head = sizeof LAUNCH_MAGIC - 1;
    launch_empty(launch);
    if (size < head || memcmp(data, LAUNCH_MAGIC, head) != 0)
        return false;
    struct reader in = {data + head, data + size, false};
    struct reader numbers = reader_record(&in, 0);
    bool known = reader_u64(&numbers) == LAUNCH_VERSION;
    launch->flags = reader_u64(&numbers);
    launch->status_fd = read_fd(&numbers);
    launch->report_directory = read_fd(&numbers);
    struct reader plan = reader_record(&in, 1);
    struct reader record = reader_record(&in, 2);
    launch->values = reader_strings(&record);
    in.failed |= record.failed;
    record = reader_record(&in, 3);
    launch->report_name = reader_bytes(&record);
    record = reader_record(&in, 4);
    launch->report_temporary = reader_bytes(&record);
    record = reader_record(&in, 5);
    launch->report = reader_strings(&record);
    in.failed |= record.failed || numbers.failed || in.at != in.end;
    return known && !in.failed && plan_decode(plan.at, (size_t)(plan.end - plan.at), &launch->plan) &&
           launch->values.count == launch->plan.env_set.count &&
           launch->report.count == (launch->report_directory < 0 ? 0 : REPORT_PIECES);
}

/* --- the environment ----------------------------------------------------------------------------------------------------------- */

static bool is_assignment_of(const char *assignment, const struct bytes *name)
{
    return strncmp(assignment, name->data, name->size) == 0 && assignment[name->size] == '=';
}

/* Put `NAME=value` into the vector, over what it has by that name. */
static size_t assign(char **vector, size_t count, const struct bytes *name, const char *value)
{
    size_t at = 0;
    while (at < count && !is_assignment_of(vector[at], name))
        at++;
    char *text = must_alloc(name->size + strlen(value) + 2, 1);
    (void)stpcpy(stpcpy(stpcpy(text, name->data), "="), value);
    vector[at] = text;
    return at == count ? count + 1 : count;
}

/* What is passed, over it what is set, over it the private directories. NULL if a value holds a NUL. */
static char **environment_vector(const struct launch *launch, const struct strings *private)
{
    const struct plan *plan = &launch->plan;
    size_t count = 0;
    char **vector = must_alloc(plan->env_pass.count + plan->env_set.count + private->count + 1, sizeof *vector);
    for (size_t at = 0; at < plan->env_pass.count; at++) {
        const struct bytes *name = &plan->env_pass.at[at];
        for (char **one = environ; *one; one++) {
            if (is_assignment_of(*one, name)) {
                count = assign(vector, count, name, *one + name->size + 1);
                break;
            }
        }
    }
    for (size_t at = 0; at < plan->env_set.count; at++) {
        const struct bytes *value = &launch->values.at[at];
        if (strlen(value->data) != value->size)
            return NULL;
        count = assign(vector, count, &plan->env_set.at[at], value->data);
    }
    for (size_t at = 0; at < private->count; at++)
        count = assign(vector, count, &plan->private_dirs.at[at], private->at[at].data);
    return vector;
}

/* --- the supervisor, before the fork --------------------------------------------------------------------------------------------- */

struct action { /* of the kernel; the one of libc refuses the two signals that it uses itself (nptl(7)) */
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static bool is_ignored(int signal)
{
    struct action old = {0};
    return syscall(SYS_rt_sigaction, signal, NULL, &old, sizeof old.mask) == 0 && old.handler == SIG_IGN;
}

static bool proc_is_ours(void)
{
    char text[32] = "";
    return readlink("/proc/self", text, sizeof text - 1) > 0 && atoi(text) == getpid();
}

static int controlling_terminal(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (tcgetpgrp(fd) >= 0)
            return fd;
    }
    return -1;
}

static uint64_t kept_ignored(void)
{
    uint64_t ignored = 0;
    for (size_t at = 0; at < sizeof KEPT_IGNORED / sizeof *KEPT_IGNORED; at++)
        ignored |= is_ignored(KEPT_IGNORED[at]) ? signal_bit(KEPT_IGNORED[at]) : 0;
    return ignored;
}

/* Make this process a supervisor: from here on all signals are blocked and read from one signalfd. */
static bool begin(const struct plan *plan, struct watch *watch)
{
    const uint64_t all = ~UINT64_C(0);
    const struct action standard = {0};
    if (!proc_is_ours()) /* of another pid namespace, or none: no look at a process would tell */
        return false;
    /* Before anything else exists that could be read: the environment in our memory is not the command's business.
     * A caller that ignores SIGCHLD would make the kernel reap the command and throw its status away (wait(2)). */
    if (prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL) != 0 || syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all) != 0 ||
        syscall(SYS_rt_sigaction, SIGCHLD, &standard, NULL, sizeof standard.mask) != 0)
        return false;
    watch->terminal = controlling_terminal();
    watch->new_session = plan->tty == TTY_NEW_SESSION || plan->tty == TTY_PTY;
    if (watch->new_session)
        watch->terminal = -1;
    /* Without a terminal, a signal sent to the caller's whole group must arrive once, by us. With one, the command stays
     * in the group that the shell made, so that pipelines and Ctrl-C work. */
    watch->own_group = watch->terminal < 0;
    watch->ignored = kept_ignored();
    /* A pid namespace dies with its init process, and mounting in it must stay possible. */
    watch->scoped = (plan->landlock_scoped & SCOPE_SIGNAL) && plan->no_new_privs &&
                    !(plan->namespaces & (CLONE_NEWPID | CLONE_NEWNS)) && scope_signals(plan->landlock_fs != 0);
    watch->signal_fd = (int)syscall(SYS_signalfd4, -1, &all, sizeof all, O_NONBLOCK | O_CLOEXEC);
    /* Whoever holds several commands together ends them together, also if it is killed. */
    if (plan->hold.count && prctl(PR_SET_PDEATHSIG, (unsigned long)SIGALRM, 0UL, 0UL, 0UL) != 0)
        return false;
    return watch->signal_fd >= 0 && prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) == 0;
}

/* --- the fork ------------------------------------------------------------------------------------------------------------------------ */

/* End a child that did not get to run the command. How it ended: waitid(2)'s code and status.
 *
 * Without SIGKILL a child that still lives could hold us here for ever; one that is a zombie does not feel it. Nobody can
 * tell for sure that it did not run: a second execve(2), by a thread, has the mark of the first until it is done. */
static void give_up(struct child *child, const struct watch *watch, struct launch *launch)
{
    siginfo_t end = {0};
    struct integers survivors;
    (void)kill(child->pid, SIGKILL);
    if (waitid(P_PID, (id_t)child->pid, &end, WEXITED) == 0) {
        launch->end_code = end.si_code;
        launch->end_status = end.si_status;
    }
    if (child->init > 0) {
        (void)kill(child->init, SIGKILL);
        /* It ends after all others in its namespace: also after one that the maker started and died before telling of. */
        for (pid_t ended = 0; ended != child->init && ended >= 0;)
            ended = waitpid(-1, NULL, 0);
    }
    (void)kill_tree(watch->scoped, watch->signal_fd, 0, -1, &survivors);
}

/* Wait until the child executes the command; all is reaped and false returned if it never does.
 *
 * A closed pipe alone does not tell that it did: a filter that kills execve closes it as well. The kernel clears its own
 * mark before it closes the pipe. If it is not `ready`, it has no byte to wait for, and may hang before: in the view of a
 * plan that does not hold any more, whose file server is gone. */
static bool wait_for_execve(int reader, struct child *child, const struct watch *watch, struct launch *launch, bool ready)
{
    struct told told;
    bool failed = !ready;
    if (!ready)
        (void)kill(child->pid, SIGKILL);
    while (read(reader, &told, sizeof told) == sizeof told) {
        if (told.step == TOLD_INIT) {
            child->init = told.argument;
        } else if (told.step == TOLD_COMMAND) {
            (void)waitpid(child->pid, NULL, 0); /* the maker, which has no more to say */
            child->pid = told.argument;
        } else {
            failed = true;
        }
        if (!ready)
            (void)kill(child->init > 0 ? child->init : child->pid, SIGKILL); /* with it all in its namespace */
    }
    if (!failed && process_executed(child->pid)) {
        child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
        child->init_fd = child->init > 0 ? (int)syscall(SYS_pidfd_open, child->init, 0) : -1;
        if (child->pidfd >= 0 && (child->init == 0 || child->init_fd >= 0))
            return true;
    }
    give_up(child, watch, launch);
    if (failed)
        launch->end_code = launch->end_status = 0; /* Python will be told the same */
    return false;
}

bool is_current(struct launch *launch)
{
    launch->is_stale = !facts_hold(&launch->facts, launch->salt);
    launch->facts.at = launch->facts.end;
    return !launch->is_stale;
}

/* The same once this process is not dumpable, and its files in /proc not its own: it is dumpable for as long. */
static bool is_still_current(struct launch *launch)
{
    if (launch->facts.at == launch->facts.end)
        return true;
    return prctl(PR_SET_DUMPABLE, 1UL, 0UL, 0UL, 0UL) == 0 && is_current(launch) &&
           prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL) == 0;
}

/* Fork, and return when the command runs.
 *
 * Asking the facts again takes this process about as long as the namespaces and the view take the child. So both do it at
 * once, and half of the ruleset each; then the child waits for this process to be done. */
static bool start(struct launch *launch, struct watch *watch, const struct strings *private, struct child *child)
{
    int ends[2], go[2];
    char **environment = environment_vector(launch, private);
    if (!environment || pipe2(ends, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0)
        return false;
    watch->go = go[0];
    struct job *job = job_prepare(&launch->plan, watch, environment, private, ends[1]);
    if (job)
        child->pid = fork();
    if (job && child->pid == 0) {
        (void)close(go[1]); /* so that it sees the end of the file, should this process be gone */
        child_walk(job);
    }
    (void)close(ends[1]);
    bool forked = job && child->pid > 0;
    /* The other end stays open here meanwhile: nobody there is no reason for SIGPIPE. */
    bool ready = forked && is_still_current(launch) && job_finish(job, FIRST_HALF) && write(go[1], "", 1) == 1;
    (void)close(go[0]);
    (void)close(go[1]);
    if (job)
        job_close(job);
    bool runs = forked && wait_for_execve(ends[0], child, watch, launch, ready);
    (void)close(ends[0]);
    return runs;
}

/* --- without a supervisor --------------------------------------------------------------------------------------------------------------- */

/* Become the command. The exit status of one that cannot be executed, or -1 if nothing has been changed yet. */
static int become(struct launch *launch)
{
    char room[128];
    const struct strings nothing = {NULL, 0};
    struct watch watch = {.terminal = -1, .signal_fd = -1, .ignored = kept_ignored(), .alone = true};
    char **environment = environment_vector(launch, &nothing);
    struct job *job = environment ? job_prepare(&launch->plan, &watch, environment, &nothing, -1) : NULL;
    if (!job)
        return -1;
    struct told told = child_become(job);
    /* Half of what the command would be: Python might not even start here, so what is wrong is said in short. */
    const char *step = step_name(told.step);
    bool last = strcmp(step, "execute") == 0;
    const char *why = told.number ? reason(told.number, room) : "the kernel said yes and holds something else";
    say("cannot %s%s%s: %s", step, last ? " " : "", last ? printable(launch->plan.executable.data) : "", why);
    if (!last)
        return EXIT_SANDRUN;
    /* If the file is there, it is its interpreter that is not. */
    bool missing = (told.number == ENOENT || told.number == ENOTDIR) && access(launch->plan.executable.data, F_OK) != 0;
    return missing ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
}

int run(struct launch *launch)
{
    struct watch watch = {.terminal = -1, .signal_fd = -1};
    struct child child = {.pidfd = -1, .init_fd = -1};
    struct strings private = {NULL, 0};
    /* Before what cannot be undone, a scope of signals among it, and before there are files for it. */
    bool at_once = launch->flags & LAUNCH_EXEC || !(launch->plan.namespaces & CLONE_NEWPID) || launch->plan.private_dirs.count;
    if (at_once && !is_current(launch))
        return -1;
    if (launch->flags & LAUNCH_EXEC)
        return become(launch);
    if (!begin(&launch->plan, &watch) || !private_make(&launch->plan, &private))
        return -1;
    if (!start(launch, &watch, &private, &child)) {
        for (size_t at = 0; at < private.count; at++)
            (void)private_remove(private.at[at].data); /* the failure on the way here is the one that counts */
        return -1;
    }
    report_event_started(launch, child.pid);
    struct outcome outcome;
    supervise(&child, &watch, &launch->plan, &private, &outcome);
    int status = report_ended(launch, &outcome);
    char dropped[4096]; /* signals to a command that is gone: they are not for Python, should it take over */
    while (read(watch.signal_fd, dropped, sizeof dropped) > 0)
        continue;
    return status;
}
