/* Stand between the caller and the command until nothing of the command is left.
 *
 * Twin of sandrun/supervise.py, where the reasons are told at length. All signals are blocked and read from one signalfd,
 * which also tells who sent them; nothing runs while nothing happens.
 */
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_TIMEOUT = 124 };
enum { MS = 1000000 };
static const uint64_t LOOK_NS = 20 * MS;
static const uint64_t FOREVER = UINT64_MAX;

/* What was seen of the command, and the deadline that counts now. */
struct state {
    const struct child *child;
    const struct watch *watch;
    uint64_t began, ended, deadline, grace;
    double user, system;
    int status; /* of wait(2) */
    bool gone, timed_out;
};

/* --- signals ------------------------------------------------------------------------------------------------------------------- */

static bool is_forwarded(int signal)
{
    switch (signal) {
    case SIGHUP:
    case SIGINT:
    case SIGQUIT:
    case SIGUSR1:
    case SIGUSR2:
    case SIGTERM:
    case SIGCONT:
    case SIGTSTP:
    case SIGWINCH:
        return true;
    default:
        return false;
    }
}

/* It may have ended, or taken another user's id; its end is seen by SIGCHLD. */
static void send_signal(const struct state *state, int signal, bool group)
{
    if (group)
        (void)killpg(state->child->pid, signal);
    else
        (void)syscall(SYS_pidfd_send_signal, state->child->pidfd, signal, NULL, 0);
}

/* Kill the command's process group, if it has one of its own, in one call that no fork outruns.
 *
 * Only before the command is reaped: then its id, which is the group's, may be given to a stranger. A pid namespace has
 * no need of it: all die with the init process, and are counted before. */
static void kill_group(const struct state *state)
{
    if (state->watch->own_group && state->child->init == 0)
        send_signal(state, SIGKILL, true);
}

/* Pass one signal on to the command, unless it had it already or nobody meant it for us. */
static void forward(const struct state *state, const struct signalfd_siginfo *info)
{
    const struct watch *watch = state->watch;
    int signal = (int)info->ssi_signo;
    if (!is_forwarded(signal) || info->ssi_code == SI_TIMER || watch->ignored & signal_bit(signal))
        return;
    if (info->ssi_code == SI_KERNEL && watch->terminal >= 0)
        return; /* the terminal sent it to the command as well */
    if (info->ssi_code == SI_KERNEL) {
        /* The terminal means all that run in it, and programs like make count on that. */
        send_signal(state, signal, true);
        return;
    }
    if (!watch->own_group && (pid_t)info->ssi_pid == state->child->pid)
        return; /* the command signalled its whole group, which is ours */
    if (signal == SIGCONT && !watch->own_group && !process_stopped(state->child->pid))
        return; /* the shell continued the whole group */
    send_signal(state, signal, signal == SIGCONT && watch->own_group);
}

/* Stop this process by a signal that is blocked; returns when it is continued.
 *
 * Returns at once where no shell could continue it: in an orphaned process group (credentials(7)) the kernel drops these
 * signals. So a command that stops itself on a build server does not stop its supervisor. */
static void stop_here(int signal)
{
    const uint64_t mask = signal_bit(signal);
    (void)kill(getpid(), signal);
    (void)syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, NULL, sizeof mask);
    (void)syscall(SYS_rt_sigprocmask, SIG_BLOCK, &mask, NULL, sizeof mask);
}

/* The command stopped: stop as well, so that an interactive shell shows the job as stopped.
 *
 * If there is a deadline, a timer continues us at its time: being stopped is no way around it. */
static void stop(const struct state *state, int signal)
{
    if (state->timed_out || !process_stopped(state->child->pid))
        return;
    if (signal != SIGTTIN && signal != SIGTTOU)
        signal = SIGTSTP;
    if (state->deadline == FOREVER) {
        stop_here(signal);
        return;
    }
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return; /* without it nobody would keep the time */
    uint64_t now = now_ns();
    uint64_t left = state->deadline > now + MS ? state->deadline - now : MS;
    struct itimerspec expiry = {.it_value = {(time_t)(left / 1000000000), (long)(left % 1000000000)}};
    if (timer_settime(timer, 0, &expiry, NULL) == 0)
        stop_here(signal);
    (void)timer_delete(timer);
}

/* --- the command and its time ---------------------------------------------------------------------------------------------------- */

static double seconds(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

/* The processor time and the peak of all children that were waited for. */
static struct rusage counted(void)
{
    struct rusage usage = {0};
    (void)getrusage(RUSAGE_CHILDREN, &usage); /* it cannot fail */
    return usage;
}

/* Remember the processor time until now, before processes end of which the kernel would not tell us.
 *
 * Orphans of a pid namespace are reaped for an init process that waits for nobody, so their times are lost. */
static void take_down_times(struct state *state)
{
    pid_t init = state->child->init;
    if (init == 0 || (state->gone && inside(init) == 0))
        return;
    double user, system;
    struct rusage usage = counted();
    tree_times(&user, &system);
    user += seconds(&usage.ru_utime);
    system += seconds(&usage.ru_stime);
    state->user = user > state->user ? user : state->user;
    state->system = system > state->system ? system : state->system;
}

/* Look at what SIGCHLD announced: the command's stop or end, and orphans to be reaped. */
static void look_at_children(struct state *state)
{
    pid_t pid = state->child->pid;
    bool any_left;
    while (!state->gone) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            break;
        if (info.si_code == CLD_STOPPED) {
            int signal = info.si_status;
            (void)waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG);
            stop(state, signal);
        } else if (info.si_code == CLD_TRAPPED) {
            /* The command made us its tracer (PTRACE_TRACEME): this stop is not its end, and nobody continues it. */
            send_signal(state, SIGKILL, false);
            (void)waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG);
        } else {
            state->gone = true;
            state->ended = now_ns();
            if (!state->timed_out)
                kill_group(state);
            (void)waitpid(pid, &state->status, 0);
        }
    }
    if (!state->gone)
        (void)reap(pid, &any_left);
}

static void time_is_up(struct state *state)
{
    if (state->gone)
        return;
    state->timed_out = true;
    state->deadline = now_ns() + state->grace;
    take_down_times(state);
    /* CONT after TERM: a stopped process must be able to act on it. */
    signal_tree(state->watch->scoped, state->child->init, SIGTERM, SIGCONT);
}

/* The caller wants no more of it: the command dies, and what it started is killed on the way out of here. */
static void end_now(struct state *state)
{
    if (!state->gone)
        send_signal(state, SIGKILL, false);
    if (state->timed_out)
        state->deadline = 0; /* the grace is over */
}

/* Whether anything but the command lives on. */
static bool is_any_left(const struct state *state)
{
    bool any_left;
    (void)reap(0, &any_left);
    return state->child->init ? inside(state->child->init) > 0 : any_left;
}

/* Wait for a signal; until the deadline, if there is one. */
static void wait_for_signals(const struct state *state)
{
    struct pollfd signals = {.fd = state->watch->signal_fd, .events = POLLIN};
    if (state->deadline == FOREVER) {
        (void)ppoll(&signals, 1, NULL, NULL);
        return;
    }
    uint64_t now = now_ns();
    uint64_t left = state->deadline > now ? state->deadline - now : 0;
    /* Orphans of a pid namespace end without a signal to us. */
    if (state->gone && state->child->init && left > LOOK_NS)
        left = LOOK_NS;
    struct timespec timeout = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
    (void)ppoll(&signals, 1, &timeout, NULL);
}

/* Return when the command has ended; after a timeout, when all have ended or the grace is over. */
static void until_the_end(struct state *state)
{
    struct signalfd_siginfo infos[16];
    look_at_children(state); /* it may be over before we look for the first time */
    while (!state->gone || (state->timed_out && is_any_left(state))) {
        wait_for_signals(state);
        ssize_t size = read(state->watch->signal_fd, infos, sizeof infos);
        for (size_t at = 0; size > 0 && at < (size_t)size / sizeof *infos; at++) {
            if (infos[at].ssi_signo == SIGCHLD)
                look_at_children(state);
            else if (infos[at].ssi_signo == SIGALRM)
                end_now(state);
            else if (!state->gone)
                forward(state, &infos[at]);
        }
        if (state->deadline != FOREVER && now_ns() >= state->deadline) {
            if (state->timed_out)
                return;
            time_is_up(state);
        }
    }
}

/* --- before and after ------------------------------------------------------------------------------------------------------------- */

/* Put /dev/null in the place of our copies of what the command got.
 *
 * Whoever is at the other end of a pipe waits until its last copy is closed, and that is to be the command's. Descriptor
 * 2 stays for messages. */
static void let_go(const struct plan *plan, const struct watch *watch)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return; /* only a reader that waits longer is lost */
    for (int fd = 0; fd < 2; fd++) {
        if (fd != watch->terminal)
            (void)dup3(null, fd, O_CLOEXEC);
    }
    for (size_t at = 0; at < plan->pass_fds.count; at++) {
        int fd = (int)plan->pass_fds.at[at];
        if (fd != 2 && fd != watch->terminal)
            (void)dup3(null, fd, O_CLOEXEC);
    }
    (void)close(null);
}

/* If the terminal's foreground group has no process any more, be it: a shell script goes on reading after us. */
static void give_back(int terminal)
{
    pid_t foreground = tcgetpgrp(terminal);
    if (foreground > 0 && killpg(foreground, 0) != 0 && errno == ESRCH)
        (void)tcsetpgrp(terminal, getpgrp());
}

/* Undo tcflow(TCOOFF), after which every writer to the terminal waits, our own messages too; no key ends that. */
static void resume_output(int fd)
{
    if (fd >= 0 && isatty(fd))
        (void)tcflow(fd, TCOON); /* a terminal that hung up has no output */
}

static void remove_private(const struct strings *private, struct outcome *outcome)
{
    outcome->left.at = must_alloc(private->count, sizeof *outcome->left.at);
    outcome->why.at = must_alloc(private->count, sizeof *outcome->why.at);
    for (size_t at = 0; at < private->count; at++) {
        int number = private_remove(private->at[at].data);
        if (number != 0) {
            outcome->left.at[outcome->left.count++] = private->at[at];
            outcome->why.at[outcome->why.count++] = number;
        }
    }
}

static double larger(double one, double other)
{
    return one > other ? one : other;
}

/* The exit status of a command that ran: its own, 128 + n for a signal, 124 for the timeout. */
static void sum_up(const struct state *state, const struct rusage *before, struct outcome *outcome)
{
    struct rusage usage = counted();
    outcome->status = WIFEXITED(state->status) ? WEXITSTATUS(state->status) : 0;
    outcome->signal = WIFSIGNALED(state->status) ? WTERMSIG(state->status) : 0;
    outcome->timed_out = state->timed_out;
    outcome->wall = (double)(state->ended - state->began) / 1e9;
    outcome->user = larger(seconds(&usage.ru_utime), state->user) - seconds(&before->ru_utime);
    outcome->system = larger(seconds(&usage.ru_stime), state->system) - seconds(&before->ru_stime);
    outcome->max_rss = (uint64_t)usage.ru_maxrss * 1024;
    outcome->status_of_sandrun = outcome->timed_out ? EXIT_TIMEOUT
                                 : outcome->signal  ? 128 + outcome->signal
                                                    : outcome->status;
}

void supervise(const struct child *child, const struct watch *watch, const struct plan *plan,
               const struct strings *private, struct outcome *outcome)
{
    uint64_t began = now_ns();
    struct rusage before = counted();
    struct state state = {.child = child, .watch = watch, .began = began, .ended = began, .deadline = FOREVER};
    if (plan->deadline_ms >= 0)
        state.deadline = began + (uint64_t)plan->deadline_ms * MS;
    state.grace = plan->grace_ms > 0 ? (uint64_t)plan->grace_ms * MS : 0;
    memset(outcome, 0, sizeof *outcome);
    let_go(plan, watch);
    until_the_end(&state);
    if (!state.gone)
        kill_group(&state);
    take_down_times(&state);
    outcome->killed = kill_tree(watch->scoped, watch->signal_fd, child->init, child->init_fd, &outcome->survivors);
    if (!state.gone) {
        state.status = SIGKILL;
        state.ended = now_ns();
        outcome->killed -= outcome->killed > 0;
    }
    remove_private(private, outcome);
    give_back(watch->terminal);
    resume_output(STDERR_FILENO);
    resume_output(watch->terminal);
    sum_up(&state, &before, outcome);
}
