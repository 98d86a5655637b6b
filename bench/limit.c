/* The limit of make bench: what one core answers over kept HTTP/1.1 connections if the answer is constant.

   cc -O2 -o limit limit.c && ./limit PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 65536
static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"passed\":true}";

struct client { int fd; size_t size; char sent[MOST]; };

/* The bytes of the first request, or 0 if it is not complete. */
static size_t complete(struct client *one) {
    char *end = memmem(one->sent, one->size, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t size = end - one->sent + 4;
    for (char *line = one->sent; line < end; line = (char *)memmem(line, end + 2 - line, "\r\n", 2) + 2)
        if (!strncasecmp(line, "content-length:", 15)) size += strtoul(line + 15, 0, 10);
    return one->size >= size ? size : 0;
}

static void answer(struct client *one) {
    ssize_t got = recv(one->fd, one->sent + one->size, MOST - one->size, 0);
    if (got <= 0) { close(one->fd); free(one); return; }
    one->size += got;
    for (size_t size; (size = complete(one)); memmove(one->sent, one->sent + size, one->size -= size))
        send(one->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL);
}

int main(int argc, char **argv) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), loop = epoll_create1(0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 1024)) return 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = 0}, ready[256];
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    for (;;)
        for (int i = epoll_wait(loop, ready, 256, -1) - 1; i >= 0; i--) {
            struct client *one = ready[i].data.ptr;
            if (one) { answer(one); continue; }
            int fd = accept4(listener, 0, 0, SOCK_NONBLOCK);
            if (fd < 0) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            one = malloc(sizeof *one); one->fd = fd; one->size = 0;
            event.data.ptr = one;
            epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
        }
}
