/* The label of another security module that the command gets at execve(2). Twin of sandrun/primitives/label.py.
 *
 * The kernel lets a process write its own file only, through a descriptor that it opened itself; that is done while /proc can
 * be reached and before anything is confined. The numbers of the descriptors are taken before, so that they are kept.
 */
#include "child.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* AppArmor's own file, which it has since Linux 5.8: the other belongs to whichever module was there first. */
static const char *const files[2] = {"self/attr/apparmor/exec", "self/attr/exec"};

static const struct bytes *label(const struct job *job, size_t at)
{
    return at == 0 ? &job->plan->apparmor : &job->plan->selinux;
}

bool labels_prepare(struct job *job)
{
    for (size_t at = 0; at < 2; at++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%s", files[at]);
        if (label(job, at)->size && (job->label_fds[at] = open(path, O_WRONLY | O_CLOEXEC)) < 0)
            return false;
    }
    return true;
}

bool open_labels(struct job *job)
{
    if (job->label_fds[0] < 0 && job->label_fds[1] < 0)
        return true;
    int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return false;
    if (job->plan->namespaces & CLONE_NEWNS) {
        /* By a copy of the mount: one with a file open for writing cannot become read-only. */
        unsigned flags = AT_EMPTY_PATH | 0x8000 /* AT_RECURSIVE */ | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
        int copy = (int)syscall(SYS_open_tree, proc, "", flags);
        if (copy < 0)
            return false;
        close(proc);
        proc = copy;
    }
    for (size_t at = 0; at < 2; at++) {
        if (job->label_fds[at] < 0)
            continue;
        int own = openat(proc, files[at], O_WRONLY | O_CLOEXEC);
        if (own < 0 || dup3(own, job->label_fds[at], O_CLOEXEC) < 0)
            return false;
        close(own);
    }
    return close(proc) == 0;
}

bool set_labels(struct job *job)
{
    for (size_t at = 0; at < 2; at++) {
        const struct bytes *name = label(job, at);
        if (job->label_fds[at] < 0)
            continue;
        char *text = must_alloc(name->size + sizeof "exec ", 1);
        (void)stpcpy(stpcpy(text, at == 0 ? "exec " : ""), name->data);
        if (write(job->label_fds[at], text, strlen(text)) < 0)
            return false;
    }
    return true;
}
