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
#include <sys/stat.h>
#include <unistd.h>

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

/* The interpreter in the first line of the script, if all of the line is the path of a Python: also of one that is too long
 * for the kernel, or has blanks. pip writes such lines as they are. */
static bool read_interpreter(const char *script, char line[PATH_MAX]) {
    int fd = open(script, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t size = read(fd, line, PATH_MAX - 1);
    (void)close(fd);
    if (size < 4 || memcmp(line, "#!/", 3) != 0) {
        return false;
    }
    line[size] = 0;
    char *end = strchr(line, '\n');
    if (end == NULL) {
        return false;
    }
    *end = 0;
    const char *name = strrchr(line, '/') + 1;
    return (strncmp(name, "python", 6) == 0 || strncmp(name, "pypy", 4) == 0) && access(line + 2, X_OK) == 0;
}

/* CPython ends with status 1 then, as if the command had. */
void refuse_directories(void) {
    struct stat found;
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        if (fstat(fd, &found) == 0 && S_ISDIR(found.st_mode)) {
            say("descriptor %d is a directory, with which Python does not start: redirect it", fd);
            _exit(125);
        }
    }
}

void python_exec(char *const words[], char *const environment[]) {
    refuse_directories();
    char script[PATH_MAX];
    char line[PATH_MAX];
    size_t count = 0;
    while (words[count] != NULL) {
        count++;
    }
    if (python_script(script)) {
        char **argv = must_alloc(count + 4, sizeof *argv);
        char **tail = argv;
        const char *program = script;
        if (read_interpreter(script, line)) {
            /* Isolated: what PYTHONPATH and the current directory hold is not for a program that makes sandboxes. And
             * without site, a third of the time that Python takes to start; the script does what is needed of it. */
            static char isolated[] = "-IS";
            program = line + 2;
            *tail++ = line + 2;
            *tail++ = isolated;
        } /* else the line has options, or is for a shell: uv and conda write such a wrapper where a path has blanks */
        *tail++ = script;
        memcpy(tail, words, count * sizeof *tail);
        (void)execve(program, argv, environment);
    }
    (void)dprintf(STDERR_FILENO, "sandrun: cannot start Python by %s next to this program: %s\n", SCRIPT, strerror(errno));
    _exit(125);
}
