/* Namespaces, and the init process of a pid namespace. Twin of sandrun/primitives/namespaces.py.
 *
 * The init process is a target: it is a copy of the supervisor, with the caller's environment in its memory, in the pid
 * namespace of the command and with the command's user. So it is not dumpable, holds no descriptor, has a Landlock
 * domain beside the command's (which not even CAP_SYS_PTRACE reaches into) and a filter that lets it sleep and nothing
 * else. It reaps without waking up: it ignores SIGCHLD, so the kernel does it.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#error "sandrun knows the filter of the init process for x86_64 and aarch64"
#endif

static bool write_file(const char *path, struct bytes text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t written = write(fd, text.data, text.size);
    int number = errno;
    close(fd);
    errno = written < 0 ? number : EIO;
    return written == (ssize_t)text.size;
}

/* Give this process's new user namespace its ids. A process that is not dumpable may not write its own files in /proc:
 * it is dumpable for the moment of writing. */
static bool map_ids(const struct plan *plan)
{
    if (control(PR_SET_DUMPABLE, 1, 0) != 0)
        return false;
    bool is_done = write_file("/proc/self/setgroups", (struct bytes){"deny", 4}) &&
                   write_file("/proc/self/uid_map", plan->uid_map) && write_file("/proc/self/gid_map", plan->gid_map);
    int number = errno;
    if (control(PR_SET_DUMPABLE, 0, 0) != 0)
        return false;
    errno = number;
    return is_done;
}

/* Have the supervisor, which is outside, map ids that are not the caller's own. The helpers that it starts go by the owner
 * of /proc/PID, which is root for a process that is not dumpable. */
static bool ask_for_ids(const struct job *job)
{
    char byte;
    if (control(PR_SET_DUMPABLE, 1, 0) != 0 || !tell(job, TOLD_IDS, 0, 0))
        return false;
    ssize_t size = read(job->given->answer, &byte, 1);
    int number = size == 0 ? ESRCH : errno;
    if (control(PR_SET_DUMPABLE, 0, 0) != 0)
        return false;
    errno = number;
    return size == 1;
}

bool make_namespaces(struct job *job)
{
    const struct plan *plan = job->plan;
    if (!plan->namespaces)
        return true;
    if (unshare((int)plan->namespaces) != 0)
        return false;
    if (plan->id_helpers.count)
        return ask_for_ids(job);
    return !plan->uid_map.size || map_ids(plan);
}

/* Nothing that is mounted or unmounted in this mount namespace shows in another (mount_namespaces(7)). */
bool keep_mounts(void)
{
    return syscall(SYS_mount, "none", "/", "", (unsigned long)(MS_REC | MS_PRIVATE), NULL) == 0;
}

/* proc(5) of this process's pid namespace, on /proc. */
bool mount_proc(void)
{
    return syscall(SYS_mount, "proc", "/proc", "proc", (unsigned long)(MS_NOSUID | MS_NODEV | MS_NOEXEC), NULL) == 0;
}

/* A new network namespace has `lo`, but down; 127.0.0.1 and ::1 come with its being up. */
bool set_up_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int result = ioctl(fd, SIOCSIFFLAGS, &request);
    int number = errno;
    close(fd);
    errno = number;
    return result == 0;
}

/* --- the init process --- */

/* The place of our command line in memory: arg_start and arg_end of proc_pid_stat(5). */
static bool find_command_line(struct init *init)
{
    char line[4096];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, line, sizeof line - 1);
    close(fd);
    if (size < 0)
        return false;
    line[size] = '\0';
    char *field = strrchr(line, ')');
    for (int number = 2; field && number < 48; number++)
        field = strchr(field + 1, ' ');
    if (!field)
        return false;
    unsigned long long start = strtoull(field, &field, 10), end = strtoull(field, &field, 10);
    init->words = (char *)(uintptr_t)start;
    init->size = (size_t)(end - start);
    return start > 0 && end > start;
}

bool init_prepare(struct init *init)
{
    int ends[2];
    if (!find_command_line(init) || pipe2(ends, O_CLOEXEC) < 0)
        return false;
    init->held = -1;
    init->reader = ends[0];
    init->writer = ends[1];
    init->ruleset_fd = rules_create_empty();
    if (init->ruleset_fd != -2)
        return true;
    close(ends[0]);
    close(ends[1]);
    return false;
}

void init_close(struct init *init)
{
    close(init->reader);
    close(init->writer);
    if (init->ruleset_fd >= 0)
        close(init->ruleset_fd);
}

/* What init still does; all else kills it. */
static bool load_filter(void)
{
#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_write),
        ALLOW(SYS_close_range),
        ALLOW(SYS_ppoll),
        ALLOW(SYS_restart_syscall),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
#undef ALLOW
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

bool init_sleep(struct init *init)
{
    /* /proc/PID/cmdline is for everybody, and what was said to sandrun is not the command's business. */
    memset(init->words, 0, init->size);
    memcpy(init->words, "init", init->size < 4 ? init->size : 4);
    if (control(PR_SET_NO_NEW_PRIVS, 1, 0) != 0)
        return false;
    if (init->ruleset_fd >= 0 && syscall(SYS_landlock_restrict_self, init->ruleset_fd, 0) != 0)
        return false;
    unsigned writer = (unsigned)init->writer, held = init->held > 0 ? (unsigned)init->held : writer;
    unsigned first = held < writer ? held : writer, last = held < writer ? writer : held;
    if (!load_filter() || syscall(SYS_close_range, 0, first - 1, 0) != 0)
        return false;
    if (last > first + 1 && syscall(SYS_close_range, first + 1, last - 1, 0) != 0)
        return false;
    if (syscall(SYS_close_range, last + 1, UINT32_MAX, 0) != 0 || write(init->writer, ".", 1) != 1)
        return false;
    if (syscall(SYS_close_range, writer, writer, 0) != 0)
        return false;
    for (;;)
        syscall(SYS_ppoll, NULL, 0UL, NULL, NULL, 0UL);
}
