/* Resolves each name that it reads and connects at once: says how many addresses there were, and how many were refused.
   Statically linked with musl, whose resolver asks for both families at once from one socket. */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int is_refused(const struct addrinfo *to) {
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int refused = connect(fd, to->ai_addr, to->ai_addrlen) < 0 && errno == EPERM;
    close(fd);
    return refused;
}

int main(void) {
    char name[256];
    while (fgets(name, sizeof name, stdin)) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
        int found = 0, refused = 0;
        name[strcspn(name, "\n")] = 0;
        int error = getaddrinfo(name, "443", &hints, &list);
        if (error) {
            printf("%s\n", gai_strerror(error));
        } else {
            for (struct addrinfo *to = list; to; to = to->ai_next, found++) refused += is_refused(to);
            freeaddrinfo(list);
            printf("%d %d\n", found, refused);
        }
        fflush(stdout);
    }
    return 0;
}
