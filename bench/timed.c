/* Run a command COUNT times and print the nanoseconds that each run took, one a line. Inside a sandbox this leaves the
 * sandbox's own start-up out, and costs the same with and without one. Usage: timed COUNT COMMAND [WORD...] */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char *argv[])
{
    posix_spawn_file_actions_t actions;
    if (argc < 3 || posix_spawn_file_actions_init(&actions) ||
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0))
        return 2;
    for (int left = atoi(argv[1]); left > 0; left--) {
        struct timespec begun, ended;
        pid_t pid;
        int status;
        clock_gettime(CLOCK_MONOTONIC, &begun);
        if (posix_spawnp(&pid, argv[2], &actions, NULL, argv + 2, environ) || waitpid(pid, &status, 0) != pid || status)
            return 1;
        clock_gettime(CLOCK_MONOTONIC, &ended);
        printf("%lld\n", (ended.tv_sec - begun.tv_sec) * 1000000000LL + ended.tv_nsec - begun.tv_nsec);
    }
    return 0;
}
