/* How the front finds the Python that its package was installed for.
 *
 * Whoever installs a package writes the interpreter into the first line of its scripts: pip, pipx, uv and the tools of
 * distributions all do. So the script `sandrun-python` next to this program knows it, and nothing has to be guessed
 * from directories: not in a virtual environment, not below ~/.local, not in /usr/local with Python in /usr/bin.
 */
#include "sandrun.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

enum { LINE_MAX_SHEBANG = 256 }; /* the kernel reads no more of a script: execve(2) */

static const char SCRIPT[] = "sandrun-python";

/* The path of the script, in the directory of this program: of the file itself, not of a link to it. */
bool python_script(char path[PATH_MAX]) {
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (size < 0) { /* no /proc: as it was called, which is a path, since the shell or execvp(3) made one */
        const char *called = (const char *)getauxval(AT_EXECFN);
        if (called == NULL || strlen(called) >= PATH_MAX) {
            return false;
        }
        size = (ssize_t)strlen(called);
        memcpy(path, called, (size_t)size);
    }
    path[size] = 0;
    char *slash = strrchr(path, '/');
    if (slash == NULL || (size_t)(slash + 1 - path) + sizeof SCRIPT > PATH_MAX) {
        return false;
    }
    memcpy(slash + 1, SCRIPT, sizeof SCRIPT);
    return true;
}

/* The interpreter in the first line of the script, if that is one absolute path of a Python and nothing else. */
static bool read_interpreter(const char *script, char line[LINE_MAX_SHEBANG]) {
    int fd = open(script, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t size = read(fd, line, LINE_MAX_SHEBANG - 1);
    (void)close(fd);
    if (size < 4 || memcmp(line, "#!/", 3) != 0) {
        return false;
    }
    line[size] = 0;
    char *end = strpbrk(line, " \t\r\n");
    if (end == NULL || *end != '\n') {
        return false;
    }
    *end = 0;
    const char *name = strrchr(line, '/') + 1;
    return strncmp(name, "python", 6) == 0 || strncmp(name, "pypy", 4) == 0;
}

void python_exec(char *const words[], char *const environment[]) {
    char script[PATH_MAX];
    char line[LINE_MAX_SHEBANG];
    size_t count = 0;
    while (words[count] != NULL) {
        count++;
    }
    if (python_script(script)) {
        char **argv = must_alloc(count + 4, sizeof *argv);
        char **tail = argv;
        const char *program = script;
        if (read_interpreter(script, line)) {
            /* Isolated: what PYTHONPATH and the current directory hold is not for a program that makes sandboxes. */
            static char isolated[] = "-I";
            program = line + 2;
            *tail++ = line + 2;
            *tail++ = isolated;
        } /* else the line is for a shell or a wrapper (a path with blanks, or too long for the kernel) */
        *tail++ = script;
        memcpy(tail, words, count * sizeof *tail);
        (void)execve(program, argv, environment);
    }
    (void)dprintf(STDERR_FILENO, "sandrun: cannot start Python by %s next to this program: %s\n", SCRIPT, strerror(errno));
    _exit(125);
}
