/* The program, under two names.
 *
 * `sandrun-exec FD WORDS...` executes the launch that sandrun/native/handoff.py wrote into the memfd FD; WORDS execute
 * Python. `sandrun WORDS...` finds its launch in the plan cache. Either way Python takes over in this process where
 * nothing ran, or where something is to be told for which it has the words; SANDRUN_EXECUTOR then says what was done.
 * `sandrun-exec --front PYTHON... -- WORDS...` is `sandrun WORDS...` where that may not be installed: it is told which words
 * execute Python. `sandrun-exec --child FD` is the child of a supervisor in Python (sandrun/native/child.py).
 */
#include "sandrun.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

enum { EXIT_SANDRUN = 125, MOST_WORDS = 50 };

/* Open a device on each of the descriptors 0 to 2 that the caller closed.
 *
 * Else the next file that is opened takes that number, and the command or a message writes into it. As in glibc's own
 * start of privileged programs, the direction is the unusable one: reading or writing still fails with EBADF. */
static void occupy_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open(fd == 0 ? "/dev/full" : "/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_SANDRUN);
    }
}

static bool set_close_on_exec(int fd, bool on)
{
    return fd < 0 || fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) == 0;
}

static bool read_launch(const char *number, struct launch *launch)
{
    size_t size;
    void *data = sealed_document(number, &size);
    if (!data)
        return false;
    bool is_read = launch_read(data, size, launch);
    return munmap(data, size) == 0 && is_read && set_close_on_exec(launch->status_fd, true) &&
           set_close_on_exec(launch->report_directory, true);
}

/* Whether a word of the command line names a file: only then has Python anything to say after a run that failed; see
 * sandrun/explain/footer.py. */
static bool names_file(const struct plan *plan)
{
    struct stat found;
    int place = plan->cwd.size ? open(plan->cwd.data, O_PATH | O_DIRECTORY | O_CLOEXEC) : AT_FDCWD;
    for (size_t at = 1; at < plan->argv.count && at < MOST_WORDS; at++) {
        const char *word = plan->argv.at[at].data;
        const char *value = strrchr(word, '=');
        const char *name = value ? value + 1 : word;
        if (*name && fstatat(place, name, &found, AT_SYMLINK_NOFOLLOW) == 0)
            return true;
    }
    return false;
}

/* Say to Python what has been done: see sandrun/native/__init__.py. False if there is no need for Python, or no way. */
static bool tell_python(const struct launch *launch, int status)
{
    char words[64] = "";
    size_t size = 0;
    /* With --exec, this process is confined as the command was to be, and no place for Python. */
    bool explained = launch->flags & LAUNCH_FOOTER && !(launch->flags & LAUNCH_EXEC) && isatty(STDERR_FILENO);
    if (status > 0 && !(explained && names_file(&launch->plan)))
        return false;
    if (launch->flags & LAUNCH_TOLD)
        size += (size_t)snprintf(words, sizeof words, "told:%u:", (unsigned)(launch->flags >> 32));
    if (status > 0)
        (void)snprintf(words + size, sizeof words - size, "after:%d", status);
    else if (launch->end_code)
        (void)snprintf(words + size, sizeof words - size, "died:%d:%d", launch->end_code, launch->end_status);
    else if (!(launch->flags & LAUNCH_TOLD))
        (void)snprintf(words, sizeof words, "again");
    if (leave_words(words))
        return true;
    if (status < 0)
        say("cannot launch the command, nor tell Python to: %s", strerror(errno));
    return false;
}

int run_or_tell(struct launch *launch)
{
    uint64_t mask;
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, sizeof mask) != 0)
        return -1;
    int status = run(launch);
    if (status == 0 || (!launch->is_stale && !tell_python(launch, status)))
        return status < 0 ? EXIT_SANDRUN : status;
    if (!set_close_on_exec(launch->status_fd, false) || !hold_close_on_exec(&launch->plan, false) ||
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask) != 0)
        return EXIT_SANDRUN;
    return -1;
}

static int execute(char **argv)
{
    struct launch launch;
    launch_empty(&launch);
    int status = read_launch(argv[1], &launch) ? run_or_tell(&launch) : -1;
    if (status >= 0)
        return status;
    if (!getenv("SANDRUN_EXECUTOR"))
        (void)setenv("SANDRUN_EXECUTOR", "python", 1);
    (void)execve(argv[2], argv + 2, environ);
    say("cannot execute %s: %s", argv[2], strerror(errno));
    return EXIT_SANDRUN;
}

int main(int argc, char **argv)
{
    occupy_standard_descriptors();
    const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;
    name = name ? name + 1 : argc > 0 ? argv[0] : "";
    if (strcmp(name, "sandrun-exec") == 0) {
        if (argc == 3 && strcmp(argv[1], "--child") == 0)
            be_child(argv[2]);
        if (argc > 2 && strcmp(argv[1], "--front") == 0)
            front_of(argv + 2);
        if (argc > 2)
            return execute(argv);
        say("no command of its own: sandrun uses it");
        return EXIT_SANDRUN;
    }
    front(argv);
}
