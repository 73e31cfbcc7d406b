/* The tree of processes below this one: who is in it, signals to all of it, and its end.
 *
 * Twin of sandrun/primitives/tree.py, where the reasons are told at length. This process is a child subreaper, so every
 * process of the tree has a line of parents that ends here. A direct child keeps its process id until it is reaped, and
 * only this process reaps it; all others are verified behind a pidfd.
 *
 * It is long because finding, signalling, freezing and killing share one look at /proc, and none of it makes sense alone.
 */
#include "sandrun.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FORKNOEXEC = 0x40 };                /* PF_FORKNOEXEC of include/linux/sched.h: forked, and no execve since */
enum { PID_LIMIT = 4 * 1024 * 1024 };      /* PID_MAX_LIMIT of include/linux/threads.h */
enum { SETTLE_MS = 20, LOOK_MS = 2 };
static const uint64_t KILL_NS = 30 * UINT64_C(1000000000); /* how long processes may take to die of SIGKILL */

#define ACCESS_FS_REFER (UINT64_C(1) << 13)
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

uint64_t now_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        _exit(125); /* there is always this clock */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- one process ------------------------------------------------------------------------------------------------------ */

struct stat_line {
    char state;
    pid_t parent;
    unsigned long flags;
    unsigned long times[4]; /* user and system: its own, and of what it has waited for; in ticks */
};

/* The fields of /proc/PID/stat behind the command's name, which may hold spaces and brackets itself. */
static bool read_stat(pid_t pid, struct stat_line *found)
{
    char path[32];
    char line[4096];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, line, sizeof line - 1);
    (void)close(fd);
    if (size <= 0)
        return false;
    line[size] = 0;
    const char *rest = strrchr(line, ')');
    return rest && sscanf(rest + 1, " %c %d %*d %*d %*d %*d %lu %*u %*u %*u %*u %lu %lu %lu %lu", &found->state,
                          &found->parent, &found->flags, &found->times[0], &found->times[1], &found->times[2],
                          &found->times[3]) == 7;
}

bool process_executed(pid_t pid)
{
    struct stat_line found;
    return read_stat(pid, &found) && !(found.flags & FORKNOEXEC);
}

bool process_stopped(pid_t pid)
{
    struct stat_line found;
    return read_stat(pid, &found) && found.state == 'T';
}

/* Names of a directory that are numbers; 0 ends them. */
static pid_t next_number(DIR *folder)
{
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char *end;
        long number = strtol(entry->d_name, &end, 10);
        if (*end == 0 && number > 0 && number < PID_LIMIT)
            return (pid_t)number;
    }
    return 0;
}

/* Whether it is more than a zombie. One whose first thread alone has ended only looks like one. */
static bool is_alive(pid_t pid)
{
    struct stat_line found;
    if (!read_stat(pid, &found))
        return false;
    if (found.state != 'Z')
        return true;
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return false;
    bool many = next_number(tasks) && next_number(tasks);
    (void)closedir(tasks);
    return many;
}

static bool is_living_child(pid_t pid)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return false;
    return info.si_pid == 0 || info.si_code == CLD_TRAPPED; /* stopped, and made us its tracer: reported unasked */
}

/* --- all processes ------------------------------------------------------------------------------------------------------ */

struct member {
    pid_t pid, parent;
    int depth; /* below this process; 0: not known yet, -1: no descendant */
};
struct members {
    struct member *at;
    size_t count;
};

static void *grown(void *room, size_t *places, size_t count, size_t size)
{
    if (count < *places)
        return room;
    *places = *places ? *places * 2 : 256;
    room = reallocarray(room, *places, size);
    if (!room)
        out_of_memory();
    return room;
}

static int by_pid(const void *one, const void *other)
{
    pid_t first = ((const struct member *)one)->pid, second = ((const struct member *)other)->pid;
    return (first > second) - (first < second);
}

static int by_depth(const void *one, const void *other)
{
    return ((const struct member *)one)->depth - ((const struct member *)other)->depth;
}

static struct members all_processes(void)
{
    struct members all = {NULL, 0};
    size_t places = 0;
    DIR *proc = opendir("/proc");
    if (!proc)
        return all;
    for (pid_t pid; (pid = next_number(proc)) != 0;) {
        struct stat_line found;
        if (!read_stat(pid, &found))
            continue;
        all.at = grown(all.at, &places, all.count, sizeof *all.at);
        all.at[all.count++] = (struct member){pid, found.parent, 0};
    }
    (void)closedir(proc);
    return all;
}

/* Follow the parents up to this process, and set the depth of all on the way. */
static void find_depth(struct members *all, struct member *start, size_t *way)
{
    pid_t self = getpid();
    size_t steps = 0;
    int depth = -1;
    for (struct member *one = start; one;) {
        if (one->depth != 0) {
            depth = one->depth;
            break;
        }
        one->depth = -1; /* what a look that takes time finds may even be a circle */
        way[steps++] = (size_t)(one - all->at);
        if (one->parent == self) {
            depth = 0;
            break;
        }
        struct member key = {.pid = one->parent};
        one = bsearch(&key, all->at, all->count, sizeof key, by_pid);
    }
    while (steps > 0 && depth >= 0)
        all->at[way[--steps]].depth = ++depth;
}

/* Every process below this one, parents first, as one look at /proc finds them. The caller frees `at`. */
static struct members find_members(void)
{
    struct members all = all_processes();
    if (all.count == 0)
        return all;
    qsort(all.at, all.count, sizeof *all.at, by_pid);
    size_t *way = must_alloc(all.count, sizeof *way);
    for (size_t at = 0; at < all.count; at++)
        find_depth(&all, &all.at[at], way);
    free(way);
    qsort(all.at, all.count, sizeof *all.at, by_depth);
    size_t strangers = 0;
    while (strangers < all.count && all.at[strangers].depth < 0)
        strangers++;
    all.count -= strangers;
    memmove(all.at, all.at + strangers, all.count * sizeof *all.at);
    return all;
}

/* Signals to one of the members; nothing if it is not that process any more, or may not be signalled.
 *
 * Its parent may have died since it was found: then it is ours, or that of the init process. The second look comes when
 * the pidfd pins the process. */
static void send_to(const struct member *member, pid_t init, int first, int second)
{
    struct stat_line found;
    int pidfd = (int)syscall(SYS_pidfd_open, member->pid, 0);
    if (pidfd < 0)
        return;
    if (read_stat(member->pid, &found) &&
        (found.parent == member->parent || found.parent == getpid() || (init && found.parent == init))) {
        if (syscall(SYS_pidfd_send_signal, pidfd, first, NULL, 0) == 0 && second)
            (void)syscall(SYS_pidfd_send_signal, pidfd, second, NULL, 0); /* it ended meanwhile */
    }
    (void)close(pidfd);
}

void signal_tree(bool scoped, pid_t init, int first, int second)
{
    if (scoped) { /* one call that no fork outruns; it fails if nobody is left, or none may be signalled */
        (void)kill(-1, first);
        if (second)
            (void)kill(-1, second);
        return;
    }
    struct members members = find_members();
    for (size_t at = 0; at < members.count; at++)
        send_to(&members.at[at], init, first, second);
    free(members.at);
}

int inside(pid_t init)
{
    char path[64];
    char byte;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", init, init);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) { /* else a kernel without CONFIG_PROC_CHILDREN */
        ssize_t size = read(fd, &byte, 1);
        (void)close(fd);
        if (size == 0)
            return 0; /* an orphan is init's child, so nothing lives below one either */
    }
    int count = 0;
    struct members members = find_members();
    for (size_t at = 0; at < members.count; at++)
        count += members.at[at].parent != getpid() && is_alive(members.at[at].pid);
    free(members.at);
    return count;
}

void tree_times(double *user, double *system)
{
    unsigned long ticks[2] = {0, 0};
    struct members members = find_members();
    for (size_t at = 0; at < members.count; at++) {
        struct stat_line found;
        if (!read_stat(members.at[at].pid, &found))
            continue; /* it ended meanwhile */
        ticks[0] += found.times[0] + found.times[2];
        ticks[1] += found.times[1] + found.times[3];
    }
    free(members.at);
    double second = (double)sysconf(_SC_CLK_TCK);
    *user = (double)ticks[0] / second;
    *system = (double)ticks[1] / second;
}

/* --- the signal scope ----------------------------------------------------------------------------------------------------- */

/* A child that has ended and is not reaped; it is checked for permission like any process (kill(2)). */
static pid_t make_zombie(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    siginfo_t info;
    if (pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) != 0)
        _exit(125); /* it is our child */
    return pid;
}

static bool grant_refer(int ruleset)
{
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return false;
    struct landlock_path_beneath_attr rule = {.allowed_access = ACCESS_FS_REFER, .parent_fd = root};
    bool granted = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    (void)close(root);
    return granted;
}

static bool enter_scope(bool refer)
{
    const uint64_t attributes[3] = {refer ? ACCESS_FS_REFER : 0, 0, SCOPE_SIGNAL};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, attributes, sizeof attributes, 0);
    if (ruleset < 0)
        return false;
    bool entered = (!refer || grant_refer(ruleset)) && prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) == 0 &&
                   syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    (void)close(ruleset);
    return entered;
}

bool scope_signals(bool refer)
{
    pid_t witness = getppid();
    pid_t zombie = 0;
    if (witness <= 0 || kill(witness, 0) != 0) /* a parent in another pid namespace is 0, and kill(0) our group */
        witness = zombie = make_zombie();
    if (witness < 0)
        return false;
    /* Proved, since kill(-1) by root rests on it: what could be signalled before may not be any more. That it has ended
     * (ESRCH) proves nothing. */
    bool in_force = enter_scope(refer) && kill(witness, 0) != 0 && errno == EPERM;
    if (zombie > 0 && waitpid(zombie, NULL, 0) != zombie)
        return false;
    return in_force;
}

/* --- the end of the tree ---------------------------------------------------------------------------------------------------- */

int reap(pid_t but, bool *any_left)
{
    int killed = 0;
    for (;;) {
        siginfo_t info = {0};
        *any_left = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
        if (!*any_left || info.si_pid == 0 || info.si_pid == but)
            return killed;
        (void)waitpid(info.si_pid, NULL, 0); /* it waits already, or stopped and made us its tracer */
        killed += info.si_code == CLD_KILLED && info.si_status == SIGKILL;
    }
}

/* Bits by process id; the kernel gives pages for those that are used. */
static uint64_t *no_pids(uint64_t *used)
{
    free(used);
    return must_alloc(PID_LIMIT / 64, sizeof *used);
}

static bool add_pid(uint64_t *pids, pid_t pid)
{
    uint64_t *word = &pids[pid / 64], bit = UINT64_C(1) << (pid % 64);
    bool is_new = !(*word & bit);
    *word |= bit;
    return is_new;
}

/* Kill it if it is a child of this process, else remember it and skip it next time. */
static void kill_child(pid_t pid, uint64_t *strangers)
{
    if (strangers[pid / 64] >> (pid % 64) & 1)
        return;
    if (is_living_child(pid))
        (void)kill(pid, SIGKILL); /* one that changed its user shows up among the survivors */
    else
        (void)add_pid(strangers, pid);
}

static void kill_children(uint64_t *strangers)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        return;
    for (pid_t pid; (pid = next_number(proc)) != 0;)
        kill_child(pid, strangers);
    (void)closedir(proc);
}

/* Try every possible process id, newest first: a /proc mounted with hidepid does not list all children (proc(5)). */
static void kill_hidden(uint64_t *strangers, uint64_t end)
{
    char text[128] = "";
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        (void)close(fd);
    const char *last = size > 0 ? strrchr(text, ' ') : NULL;
    long newest = last ? strtol(last, NULL, 10) : 0;
    if (newest <= 0 || newest >= PID_LIMIT)
        newest = PID_LIMIT - 1;
    for (long count = 0; count < PID_LIMIT - 1; count++) {
        if (count % 4096 == 0 && now_ns() > end)
            return;
        long pid = newest - count;
        kill_child((pid_t)(pid > 0 ? pid : pid + PID_LIMIT - 1), strangers);
    }
}

/* Stop the whole tree, so that a storm of forks neither goes on nor takes the processor from us.
 *
 * A stopped process keeps its place under RLIMIT_NPROC: killed ones would be replaced by those not yet found. */
static void freeze(uint64_t end)
{
    uint64_t *stopped = no_pids(NULL);
    for (bool any_new = true; any_new && now_ns() < end;) {
        any_new = false;
        struct members members = find_members();
        for (size_t at = 0; at < members.count; at++) {
            if (!add_pid(stopped, members.at[at].pid))
                continue;
            any_new = true;
            send_to(&members.at[at], 0, SIGSTOP, 0);
        }
        free(members.at);
    }
    free(stopped);
}

/* Kill an init process, and wait until its namespace is empty. Returns how many others that killed.
 *
 * Our own children in there must be reaped meanwhile: init ends after all others. They and init itself are counted when
 * they are reaped, so init is taken off here. */
static int end_namespace(pid_t init, int pidfd)
{
    bool any_left;
    int others = inside(init);
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0)
        return others; /* it is reaped */
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    uint64_t end = now_ns() + KILL_NS;
    while (poll(&ended, 1, LOOK_MS) == 0 && now_ns() < end)
        others += reap(0, &any_left);
    return others - 1;
}

static struct integers living_children(void)
{
    struct integers found = {NULL, 0};
    size_t places = 0;
    DIR *proc = opendir("/proc");
    for (pid_t pid; proc && (pid = next_number(proc)) != 0;) {
        if (is_living_child(pid)) {
            found.at = grown(found.at, &places, found.count, sizeof *found.at);
            found.at[found.count++] = pid;
        }
    }
    if (proc)
        (void)closedir(proc);
    return found;
}

static void kill_round(bool scoped, unsigned round, uint64_t *strangers, uint64_t end)
{
    if (scoped) {
        signal_tree(true, 0, SIGKILL, 0);
        return;
    }
    kill_children(strangers);
    if (round % 8 == 3) {
        freeze(end);
        signal_tree(false, 0, SIGKILL, 0);
    }
    if (round % 64 == 63)
        kill_hidden(strangers, end);
}

int kill_tree(bool scoped, int signal_fd, pid_t init, int init_fd, struct integers *survivors)
{
    bool any_left;
    uint64_t end = now_ns() + KILL_NS;
    int killed = init ? end_namespace(init, init_fd) : 0;
    killed += reap(0, &any_left);
    *survivors = (struct integers){NULL, 0};
    if (!any_left)
        return killed;
    /* Against a thousand busy processes, this one gets a thousandth of the time, unless it may ask for more. */
    (void)setpriority(PRIO_PROCESS, 0, -20);
    struct pollfd signals = {.fd = signal_fd, .events = POLLIN};
    uint64_t *strangers = no_pids(NULL);
    for (unsigned round = 0; any_left && now_ns() < end; round++) {
        kill_round(scoped, round, strangers, end);
        int more = reap(0, &any_left);
        killed += more;
        if (more)
            strangers = no_pids(strangers); /* the children of those that died are ours now */
        char dropped[4096];
        if (any_left && !more && poll(&signals, 1, SETTLE_MS) > 0 && read(signal_fd, dropped, sizeof dropped) < 0)
            continue; /* somebody else read it: there is nobody, and nothing lost */
    }
    free(strangers);
    if (any_left)
        *survivors = living_children();
    return killed;
}
