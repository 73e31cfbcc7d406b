/* The program that is installed as `sandrun`: what was planned before is launched at once, anything else is for Python. */
#include "sandrun.h"

#include <stdlib.h>
#include <unistd.h>

void front(char *argv[])
{
    struct launch launch;
    char **words = argv[0] ? argv + 1 : argv;
    /* Who names an executor wants to see it at work. */
    if (!getenv("SANDRUN_EXECUTOR") && cache_find(words, &launch)) {
        int status = run_or_tell(&launch);
        if (status >= 0)
            exit(status);
    }
    python_exec(words, environ);
}
