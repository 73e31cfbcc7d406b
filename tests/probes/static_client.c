/* A client that brings its own resolver, as programs without the C library's do: `static_client HOST`.
 *
 * It reads the name server from /etc/resolv.conf, asks for A (with EDNS) and AAAA at once by UDP, and for A again by
 * TCP; both ways must agree. Then it gets / from port 80. HOST may be an address. Linked statically.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { A = 1, AAAA = 28, HEADER = 12, LARGEST = 4096 };

static void fail(const char *what)
{
	fprintf(stderr, "static_client: %s\n", what);
	exit(1);
}

static int open_socket(int type, struct in_addr address, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address };
	struct timeval limit = { .tv_sec = 5 };
	int fd = socket(AF_INET, type, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit))
		fail("no socket");
	if (connect(fd, (struct sockaddr *)&to, sizeof to))
		fail("cannot connect");
	return fd;
}

static size_t question(unsigned char *wire, int id, const char *host, int type, int edns)
{
	unsigned char *at = wire;

	memcpy(at, (unsigned char[]){ 0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, edns }, HEADER);
	at += HEADER;
	while (*host) {
		size_t length = strcspn(host, ".");
		*at++ = length;
		memcpy(at, host, length);
		at += length;
		host += length + (host[length] == '.');
	}
	memcpy(at, (unsigned char[]){ 0, 0, type, 0, 1 }, 5);
	at += 5;
	if (edns) {
		memcpy(at, (unsigned char[]){ 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0 }, 11);
		at += 11;
	}
	return at - wire;
}

/* The address of the only answer; INADDR_ANY if there is none. */
static struct in_addr answer(const unsigned char *wire, size_t length)
{
	struct in_addr found = { INADDR_ANY };
	size_t at = HEADER;

	if (length < HEADER || !(wire[2] & 0x80) || (wire[3] & 15))
		fail("no such name");
	while (at < length && wire[at])
		at += wire[at] + 1;
	at += 5;
	if (!wire[7])
		return found;
	at += (at < length && wire[at] >= 0xc0) ? 12 : strlen((const char *)wire + at) + 11;
	if (at + 4 > length)
		fail("a short answer");
	memcpy(&found, wire + at, 4);
	return found;
}

static struct in_addr by_udp(struct in_addr server, const char *host)
{
	unsigned char wire[LARGEST];
	struct in_addr found = { INADDR_ANY };
	int fd = open_socket(SOCK_DGRAM, server, 53);

	send(fd, wire, question(wire, A, host, A, 1), 0);
	send(fd, wire, question(wire, AAAA, host, AAAA, 0), 0);
	for (int left = 2; left; left--) {
		ssize_t length = recv(fd, wire, sizeof wire, 0);
		if (length <= 0)
			fail("no answer by UDP");
		struct in_addr one = answer(wire, length);
		if (wire[1] == A)
			found = one;
		else if (one.s_addr != INADDR_ANY)
			fail("an AAAA answer");
	}
	close(fd);
	return found;
}

static struct in_addr by_tcp(struct in_addr server, const char *host)
{
	unsigned char wire[LARGEST];
	int fd = open_socket(SOCK_STREAM, server, 53);
	size_t length = question(wire + 2, A, host, A, 0), have = 0;

	wire[0] = length >> 8;
	wire[1] = length;
	send(fd, wire, length + 2, 0);
	do {
		ssize_t more = recv(fd, wire + have, sizeof wire - have, 0);
		if (more <= 0)
			fail("no answer by TCP");
		have += more;
	} while (have < 2 || have < 2u + (wire[0] << 8) + wire[1]);
	close(fd);
	return answer(wire + 2, have - 2);
}

static struct in_addr look_up(const char *host)
{
	char line[256], text[64] = "";
	struct in_addr found, server;
	FILE *file;

	if (inet_pton(AF_INET, host, &found) == 1)
		return found;
	file = fopen("/etc/resolv.conf", "r");
	while (file && !text[0] && fgets(line, sizeof line, file))
		sscanf(line, "nameserver %63s", text);
	if (inet_pton(AF_INET, text, &server) != 1)
		fail("no name server");
	found = by_udp(server, host);
	if (found.s_addr == INADDR_ANY || found.s_addr != by_tcp(server, host).s_addr)
		fail("UDP and TCP do not agree");
	return found;
}

int main(int argc, char **argv)
{
	char data[LARGEST];
	ssize_t length;
	int fd;

	if (argc != 2)
		fail("usage: static_client HOST");
	fd = open_socket(SOCK_STREAM, look_up(argv[1]), 80);
	length = snprintf(data, sizeof data, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", argv[1]);
	if (send(fd, data, length, MSG_NOSIGNAL) != length)
		fail("cannot send");
	for (int all = 0; (length = recv(fd, data, sizeof data, 0)); all += length) {
		if (length < 0)
			fail("no reply");
		fwrite(data, 1, length, stdout);
	}
	return 0;
}
