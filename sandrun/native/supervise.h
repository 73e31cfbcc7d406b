/* What launch.c hands to supervise.c. */
#ifndef SANDRUN_SUPERVISE_H
#define SANDRUN_SUPERVISE_H

#include "sandrun.h"

/* A running command, and the init process of its pid namespace, 0 and -1 if it has none. With it everything in there dies. */
struct child {
    pid_t pid, init;
    int pidfd, init_fd;
};

#define SCOPE_SIGNAL (UINT64_C(1) << 1) /* LANDLOCK_SCOPE_SIGNAL */

static inline uint64_t signal_bit(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

/* Stand between the caller and the command until nothing of the command is left. */
void supervise(const struct child *child, const struct watch *watch, const struct plan *plan,
               const struct strings *private, struct outcome *outcome);

#endif
