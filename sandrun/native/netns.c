/* The inside of a network namespace whose connections end at the relay: addresses, routes, sockets, and their way out.
 * Twin of sandrun/primitives/netns.py, where the reasons are told at length.
 *
 * A socket belongs to the namespace that it was made in, whoever holds it. So the child makes the listening sockets in its
 * new namespace and hands them to the relay, which stays outside. Routes make every address a local one.
 */
#include "child.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LO = 1, BACKLOG = 4096, DNS_PORT = 53 };
enum { LO_ADDRESS = 0x7f400001 /* 127.64.0.1: glibc's AI_ADDRCONFIG finds no IPv4 where 127.0.0.1 is the only one */ };

/* How a kernel without IPv6 answers: booted with ipv6.disable=1, or with disable_ipv6 set for new namespaces. */
static bool lacks_ipv6(int number)
{
    return number == EAFNOSUPPORT || number == EADDRNOTAVAIL || number == EOPNOTSUPP || number == EACCES;
}

/* --- addresses and routes (rtnetlink(7)) --- */

/* One request, and the kernel's answer to it. */
static bool ask(int fd, struct nlmsghdr *request)
{
    struct { struct nlmsghdr head; struct nlmsgerr error; char rest[4096]; } answer;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE;
    if (write(fd, request, request->nlmsg_len) < 0)
        return false;
    ssize_t size = read(fd, &answer, sizeof answer);
    if (size < 0)
        return false;
    errno = EPROTO;
    if ((size_t)size < sizeof answer.head + sizeof answer.error.error || answer.head.nlmsg_type != NLMSG_ERROR)
        return false;
    errno = -answer.error.error;
    return answer.error.error == 0;
}

static bool add_address(int fd)
{
    struct { struct nlmsghdr head; struct ifaddrmsg body; struct rtattr local; uint32_t address; } request = {
        {.nlmsg_len = sizeof request, .nlmsg_type = RTM_NEWADDR},
        {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_scope = RT_SCOPE_HOST, .ifa_index = LO},
        {.rta_len = sizeof(struct rtattr) + sizeof(uint32_t), .rta_type = IFA_LOCAL},
        htonl(LO_ADDRESS),
    };
    return ask(fd, &request.head);
}

/* ip route add local default dev lo table local */
static bool add_route(int fd, unsigned char family)
{
    struct { struct nlmsghdr head; struct rtmsg body; struct rtattr device; uint32_t index; } request = {
        {.nlmsg_len = sizeof request, .nlmsg_type = RTM_NEWROUTE},
        {.rtm_family = family, .rtm_table = RT_TABLE_LOCAL, .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_HOST,
         .rtm_type = RTN_LOCAL},
        {.rta_len = sizeof(struct rtattr) + sizeof(uint32_t), .rta_type = RTA_OIF},
        LO,
    };
    return ask(fd, &request.head);
}

static bool make_all_local(bool *has_ipv6)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool is_done = add_address(fd) && add_route(fd, AF_INET);
    if (is_done) {
        *has_ipv6 = add_route(fd, AF_INET6);
        is_done = *has_ipv6 || lacks_ipv6(errno);
    }
    int number = errno;
    close(fd);
    errno = number;
    return is_done;
}

/* --- sockets --- */

static int bound(int family, int protocol, const void *address, socklen_t size)
{
    const int off = 0;
    int kind = protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
    int fd = socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if ((family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0) &&
        bind(fd, address, size) == 0 && (protocol != IPPROTO_TCP || listen(fd, BACKLOG) == 0))
        return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

static int bound_inet(int protocol, uint32_t host, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(host)}};
    return bound(AF_INET, protocol, &address, sizeof address);
}

/* A socket on all addresses of both families; of IPv4 alone where there is no other. */
static int bound_to_all(int protocol, uint16_t port, bool has_ipv6)
{
    if (has_ipv6) {
        struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        int fd = bound(AF_INET6, protocol, &address, sizeof address);
        if (fd >= 0 || !lacks_ipv6(errno))
            return fd;
    }
    return bound_inet(protocol, INADDR_ANY, port);
}

static bool hand_over(const struct job *job, const void *data, size_t size, int fd)
{
    if (fd < 0)
        return false;
    bool is_sent = send_descriptor(job, job->given->relay, data, size, fd);
    int number = errno;
    close(fd);
    errno = number;
    return is_sent;
}

static bool hand_over_listeners(const struct job *job, bool has_ipv6)
{
    for (size_t at = 0; at < job->plan->egress_listen.count; at++) {
        const struct pair *one = &job->plan->egress_listen.at[at];
        struct { char kind; uint8_t protocol; uint16_t port; } __attribute__((packed))
        message = {'l', (uint8_t)one->first, (uint16_t)one->second};
        if (!hand_over(job, &message, sizeof message, bound_to_all((int)one->first, message.port, has_ipv6)))
            return false;
    }
    return true;
}

/* A packet socket (packet(7)): it sees what no listener answers. Where the kernel has none, it is left out. */
static bool hand_over_witness(const struct job *job)
{
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
    if (fd < 0)
        return errno == EAFNOSUPPORT || errno == EPERM;
    return hand_over(job, "w", 1, fd);
}

bool furnish(struct job *job)
{
    const char *namespaces[] = {"n/proc/self/ns/net", "u/proc/self/ns/user"};
    bool has_ipv6 = false;
    if (!set_up_loopback() || !make_all_local(&has_ipv6) || !hand_over_listeners(job, has_ipv6) ||
        !hand_over(job, "d", 1, bound_inet(IPPROTO_UDP, INADDR_LOOPBACK, DNS_PORT)) ||
        !hand_over(job, "t", 1, bound_inet(IPPROTO_TCP, INADDR_LOOPBACK, DNS_PORT)) || !hand_over_witness(job))
        return false;
    for (size_t at = 0; at < 2; at++) {
        if (!hand_over(job, namespaces[at], 1, open(namespaces[at] + 1, O_RDONLY | O_CLOEXEC)))
            return false;
    }
    return write(job->given->relay, ".", 1) == 1;
}
