/* Run a command under the least that a sandbox of this kind can be: what these cost, no sandbox gets below.
 * `filter`: a seccomp filter of one instruction, which allows everything. `landlock`: one layer with one rule, which allows
 * reading and executing below the root directory. Usage: floor [filter|landlock]... -- COMMAND [WORD...] */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int filter(void)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = 1, .filter = &allow};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static int landlock(void)
{
    struct landlock_ruleset_attr handled = {.handled_access_fs = LANDLOCK_ACCESS_FS_READ_FILE |
                                                                 LANDLOCK_ACCESS_FS_READ_DIR |
                                                                 LANDLOCK_ACCESS_FS_EXECUTE};
    struct landlock_path_beneath_attr rule = {.allowed_access = handled.handled_access_fs};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    rule.parent_fd = open("/", O_PATH | O_CLOEXEC);
    if (ruleset < 0 || rule.parent_fd < 0 ||
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
        return -1;
    return (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
}

int main(int argc, char *argv[])
{
    int at = 1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return 125;
    for (; at < argc && strcmp(argv[at], "--"); at++)
        if (strcmp(argv[at], "filter") ? landlock() : filter())
            return 125;
    if (++at < argc)
        execvp(argv[at], argv + at);
    return 127;
}
