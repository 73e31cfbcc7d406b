/* The program that is installed as `sandrun`: what was planned before is launched at once, anything else is for Python. */
#include "sandrun.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Run what the cache has for these words, and end; return if Python is to, which may have been told what the cache has. */
static void run_kept(const char *program, char *const words[])
{
    struct launch launch;
    const char *executor = getenv("SANDRUN_EXECUTOR");
    /* Who names the native executor wants to see it at work. */
    if ((executor && strcmp(executor, "python") != 0) || !cache_find(program, words, &launch))
        return;
    if (executor || launch.flags & LAUNCH_PYTHON) {
        bool is_free = launch.status_fd < 0 || fcntl(launch.status_fd, F_SETFD, 0) == 0;
        if (is_free && !(launch.flags & LAUNCH_EXEC) && is_current(&launch))
            (void)leave_launch(&launch, executor ? executor : "");
    } else {
        int status = run_or_tell(&launch);
        if (status >= 0)
            exit(status);
    }
}

void front(char *argv[])
{
    char script[PATH_SIZE];
    char **words = argv[0] ? argv + 1 : argv;
    if (python_script(script))
        run_kept(script, words);
    python_exec(words, environ);
}

/* The program in the key is all that is executed for Python: by its words, each on a line. */
static char *lines_of(char *const words[], size_t count)
{
    size_t size = 1;
    for (size_t at = 0; at < count; at++)
        size += strlen(words[at]) + 1;
    char *text = must_alloc(size, 1);
    char *end = text;
    for (size_t at = 0; at < count; at++)
        end = stpcpy(stpcpy(end, at ? "\n" : ""), words[at]);
    return text;
}

/* Close all descriptors from 3 on but those that `--only=FD,...` names, in ascending order. False: it is not like that.
 *
 * A program with threads may have some open that are another launch's, which would not end before this one. */
static bool close_others(const char *word)
{
    unsigned first = 3;
    for (const char *at = strchr(word, '='); at && *at;) {
        char *end;
        unsigned long number = strtoul(at + 1, &end, 10);
        if (number < first || number > INT_MAX || (*end && *end != ','))
            return false;
        if (number > first && syscall(SYS_close_range, first, (unsigned)number - 1, 0) != 0)
            return false;
        first = (unsigned)number + 1;
        at = end;
    }
    return syscall(SYS_close_range, first, UINT32_MAX, 0) == 0;
}

void front_of(char *argv[])
{
    size_t count = 0, more = 0;
    if (strncmp(argv[0], "--only=", strlen("--only=")) == 0 && !close_others(*argv++)) {
        say("not what the library says: %s", printable(argv[-1]));
        _exit(125);
    }
    while (argv[count] && strcmp(argv[count], "--") != 0)
        count++;
    if (count > 0 && argv[count]) {
        char **words = argv + count + 1;
        run_kept(lines_of(argv, count), words);
        refuse_directories();
        while (words[more])
            more++;
        memmove(argv + count, words, (more + 1) * sizeof *words);
        (void)execve(argv[0], argv, environ);
    }
    say("cannot start Python: %s: %s", argv[0] ? printable(argv[0]) : "no words for it", strerror(errno));
    _exit(125);
}
