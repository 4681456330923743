#include "server/ops/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum err input_open(const char *path, int *ret_fd, struct err_detail *detail)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* A pipe's writer is not waited for. */
    if (fd < 0)
        return err_say(detail, errno == ENOENT ? ERR_NOT_FOUND : ERR_INVALID, "%s",
                       strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return err_say(detail, ERR_INVALID, "no regular file but a folder, a pipe or a device");
    }
    *ret_fd = fd;
    return OK;
}

enum err input_read(const char *path, size_t max, struct buf *ret, struct err_detail *detail)
{
    char chunk[16384];
    size_t len = 0;
    ssize_t n = 1;
    int fd = -1;
    TRY(input_open(path, &fd, detail));
    while (len <= max && (n = read(fd, chunk, sizeof chunk)) > 0) {
        buf_put(ret, chunk, (size_t)n);
        len += (size_t)n;
    }
    int why = errno;
    (void)close(fd);
    explicit_bzero(chunk, sizeof chunk); /* It may have been somebody's words, or a key. */
    if (n < 0)                           /* Not ERR_IO: that speaks of the data directory. */
        return err_say(detail, ERR_INVALID, "%s", strerror(why));
    if (len > max)
        return err_say(detail, ERR_TOO_LARGE, "more than %zu bytes", max);
    return buf_error(ret);
}
