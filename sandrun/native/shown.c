/* Show system calls to the supervisor: its filter is loaded, and the listener handed over. Twin of _hand_over_calls in
 * sandrun/steps.py.
 *
 * From then on nobody answers until the command runs, so what this process still calls must not be shown. A broker's
 * filter shows connect(2) alone. An observer's shows what it likes, but for calls that come from one place in memory, where
 * the C library of the supervisor is (sandrun/observe/program.py). Here is something else there, or nothing: so a copy of
 * the one function that makes calls is put there, and makes the rest of them.
 */
#include "child.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WAIT_KILLABLE = 1 << 5 }; /* once a call is received, only what kills its caller interrupts it; Linux 5.19 */

/* Position-independent, and without a call of anything else. */
#if defined(__x86_64__)
__asm__(".pushsection .text.raw_call, \"ax\", @progbits\n"
        ".globl raw_call\n.hidden raw_call\n.type raw_call, @function\n"
        "raw_call:\n"
        "endbr64\n"
        "mov %rdi, %rax\n"
        "mov %rsi, %rdi\n"
        "mov %rdx, %rsi\n"
        "mov %rcx, %rdx\n"
        "mov %r8, %r10\n"
        "mov %r9, %r8\n"
        "mov 8(%rsp), %r9\n"
        "syscall\n"
        "ret\n"
        ".size raw_call, . - raw_call\n"
        ".globl raw_call_end\n.hidden raw_call_end\nraw_call_end:\n"
        ".popsection\n");
#elif defined(__aarch64__)
__asm__(".pushsection .text.raw_call, \"ax\", %progbits\n"
        ".globl raw_call\n.hidden raw_call\n.type raw_call, %function\n"
        "raw_call:\n"
        "hint #34\n" /* bti c */
        "mov x8, x0\n"
        "mov x0, x1\n"
        "mov x1, x2\n"
        "mov x2, x3\n"
        "mov x3, x4\n"
        "mov x4, x5\n"
        "mov x5, x6\n"
        "svc #0\n"
        "ret\n"
        ".size raw_call, . - raw_call\n"
        ".globl raw_call_end\n.hidden raw_call_end\nraw_call_end:\n"
        ".popsection\n");
#endif
extern const char raw_call_end[];

/* A copy of raw_call at this address, which must be free. */
static calling *put_call(uint64_t place)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const char *code = (const char *)(uintptr_t)raw_call;
    void *wanted = (void *)(uintptr_t)place;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    char *room = mmap(wanted, page, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    if (room != wanted) /* a kernel that does not know the flag takes the address for a hint */
        return NULL;
    memcpy(room, code, (size_t)(raw_call_end - code));
    __builtin___clear_cache(room, room + page);
    return mprotect(room, page, PROT_READ | PROT_EXEC) == 0 ? (calling *)(uintptr_t)room : NULL;
}

bool shown_prepare(struct job *job)
{
    const struct bytes *program = job->plan->observe.size ? &job->plan->observe : &job->plan->broker_filter;
    size_t length = program->size / sizeof(struct sock_filter);
    if (program->size == 0)
        return true;
    if (program->size % sizeof(struct sock_filter) != 0 || length > BPF_MAXINSNS)
        return false;
    /* The kernel only reads it. */
    job->shown = (struct sock_fprog){(unsigned short)length, (struct sock_filter *)(uintptr_t)program->data};
    if (job->plan->observe.size)
        job->call = put_call(job->given->place);
    return job->call != NULL;
}

bool send_descriptor(const struct job *job, int channel, const void *data, size_t size, int fd)
{
    union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr head; } rights;
    struct iovec part = {(void *)(uintptr_t)data, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.room,
                             .msg_controllen = sizeof rights.room};
    memset(&rights, 0, sizeof rights);
    rights.head.cmsg_level = SOL_SOCKET;
    rights.head.cmsg_type = SCM_RIGHTS;
    rights.head.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&rights.head), &fd, sizeof fd);
    long sent = job->call(SYS_sendmsg, channel, (long)(intptr_t)&message, 0, 0, 0, 0);
    if (sent < 0)
        errno = (int)-sent;
    return sent >= 0;
}

bool show_calls(struct job *job)
{
    if (!job->shown.len)
        return true;
    long flags = (long)(job->plan->seccomp_flags | SECCOMP_FILTER_FLAG_NEW_LISTENER);
    /* An observed call is to return what it would without an observer, and EINTR is nothing that all know. */
    long killable = job->plan->observe.size ? WAIT_KILLABLE : 0, program = (long)(intptr_t)&job->shown;
    long listener = job->call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | killable, program, 0, 0, 0);
    if (listener == -EINVAL)
        listener = job->call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program, 0, 0, 0);
    if (listener < 0) {
        errno = (int)-listener;
        return false;
    }
    return send_descriptor(job, job->given->calls, "l", 1, (int)listener);
}
