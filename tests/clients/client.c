/* client HOST PORT COUNT: getaddrinfo and a blocking connect, as the textbooks do; knows nothing of proxies. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int get(const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    if (getaddrinfo(host, port, &hints, &list) != 0) return 0;
    int status = 0;
    for (struct addrinfo *at = list; at && !status; at = at->ai_next) {
        int fd = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
        if (fd < 0) continue;
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0) {
            char bytes[512];
            int length = snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
            if (write(fd, bytes, length) == length && (length = read(fd, bytes, sizeof bytes - 1)) > 12) {
                bytes[length] = 0;
                status = atoi(bytes + 9);
            }
        }
        close(fd);
    }
    freeaddrinfo(list);
    return status;
}

int main(int argc, char **argv) {
    int ok = 0, count = argc > 3 ? atoi(argv[3]) : 0;
    for (int i = 0; i < count; i++) ok += get(argv[1], argv[2]) == 200;
    printf("{\"ok\": %d, \"failed\": %d, \"last\": \"\"}\n", ok, count - ok);
    return 0;
}
