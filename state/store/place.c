#include "state/store/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define COPY_BYTES (256u << 10)
/* More than any single write of LMDB, so that what failed for want of room fails here too. */
#define SCRATCH_BYTES (2u << 20)

enum err place_errno(struct err_detail *detail, int number, const char *what, const char *path)
{
    enum err e = ERR_IO;
    if (number == ENOSPC || number == EDQUOT || number == EFBIG)
        e = ERR_DISK_FULL;
    else if (number == ENOMEM)
        e = ERR_NOMEM;
    else if (number == EEXIST)
        e = ERR_EXISTS;
    else if (number == ENOENT)
        e = ERR_NOT_FOUND;
    char reason[128];
    return err_say(detail, e, "cannot %s %s: %s", what, path,
                   strerror_r(number, reason, sizeof reason));
}

enum err place_keep(const char *path, char ret[PLACE_PATH_CAP], struct err_detail *detail)
{
    size_t len = strlen(path);
    if (len >= PLACE_PATH_CAP)
        return err_say(detail, ERR_TOO_LARGE, "a path is longer than %d bytes", PLACE_PATH_CAP - 1);
    memcpy(ret, path, len + 1);
    return OK;
}

enum err place_join(const char *dir, const char *name, char ret[PLACE_PATH_CAP],
                    struct err_detail *detail)
{
    int n = snprintf(ret, PLACE_PATH_CAP, "%s/%s", dir, name);
    if (n < 0 || n >= PLACE_PATH_CAP)
        return err_say(detail, ERR_TOO_LARGE, "the path of %s is longer than %d bytes", name,
                       PLACE_PATH_CAP - 1);
    return OK;
}

enum err place_make(const char *dir, struct err_detail *detail)
{
    bool made = mkdir(dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return place_errno(detail, errno, "create directory", dir);
    struct stat st;
    if (stat(dir, &st) != 0)
        return place_errno(detail, errno, "look at directory", dir);
    if (!S_ISDIR(st.st_mode))
        return place_errno(detail, ENOTDIR, "use", dir);
    if (st.st_mode & S_IWOTH)
        return err_say(detail, ERR_UNSUPPORTED,
                       "%s may be written by everybody, who could replace what is in it; run "
                       "`chmod o-w` on it",
                       dir);
    return made ? place_sync_parent(dir, detail) : OK;
}

bool place_magic_is_network(uint64_t magic)
{
    static const uint64_t magics[] = {
        0x6969,     /* NFS */
        0x517B,     /* SMB */
        0xFE534D42, /* SMB2 */
        0xFF534D42, /* CIFS */
        0x5346414F, /* AFS */
        0x6B414653, /* kAFS */
        0x73757245, /* Coda */
        0x01021997, /* 9P */
        0x00C36400, /* Ceph */
        0x0BD00BD0, /* Lustre */
        0x564C,     /* NCP */
        0x47504653, /* GPFS */
        0x65735546, /* FUSE: sshfs, glusterfs, and nobody can tell which */
    };
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (magics[i] == magic)
            return true;
    return false;
}

enum err place_refuse_network(const char *dir, struct err_detail *detail)
{
    struct statfs fs;
    if (statfs(dir, &fs) != 0)
        return place_errno(detail, errno, "look at the file system of", dir);
    uint64_t magic = (uint64_t)fs.f_type & UINT32_MAX; /* Sign-extended on some kernels. */
    if (!place_magic_is_network(magic))
        return OK;
    return err_say(detail, ERR_UNSUPPORTED,
                   "%s is on a network or FUSE file system (type 0x%llx), where locks and syncs "
                   "cannot be trusted; use a local disk",
                   dir, (unsigned long long)magic);
}

static enum err locked_by(int fd, const char *file, struct err_detail *detail)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return err_say(detail, ERR_LOCKED, "%s is held by process %ld: stop it first", file, pid);
    return err_say(detail, ERR_LOCKED, "%s is held by another process: stop it first", file);
}

enum err place_lock(const char *file, bool shared, int *ret_fd, struct err_detail *detail)
{
    int fd = open(file, shared ? O_RDWR | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return place_errno(detail, errno, "open the lock file", file);
    enum err e = OK;
    if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
        e = errno == EWOULDBLOCK ? locked_by(fd, file, detail)
                                 : place_errno(detail, errno, "lock", file);
        goto out;
    }
    if (!shared) {
        char text[32];
        int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        /* A full disk must not keep a server from starting: the lock holds without the pid. */
        if (ftruncate(fd, 0) != 0 ||
            (pwrite(fd, text, (size_t)n, 0) != n && errno != ENOSPC && errno != EDQUOT))
            e = place_errno(detail, errno, "write the pid into", file);
    }
out:
    if (e == OK)
        *ret_fd = fd;
    else
        close(fd);
    return e;
}

enum err place_sync(const char *path, struct err_detail *detail)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return place_errno(detail, errno, "open", path);
    int failed = fsync(fd) != 0 ? errno : 0;
    close(fd);
    return failed ? place_errno(detail, failed, "sync", path) : OK;
}

enum err place_sync_parent(const char *path, struct err_detail *detail)
{
    char parent[PLACE_PATH_CAP];
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len >= sizeof parent)
        return err_say(detail, ERR_TOO_LARGE, "a path is longer than %d bytes", PLACE_PATH_CAP - 1);
    memcpy(parent, path, len);
    parent[len] = '\0';
    return place_sync(len ? parent : ".", detail);
}

static enum err copy_bytes(int in, int out, uint64_t *ret_bytes, const char *from, const char *to,
                           struct err_detail *detail)
{
    static const char zero_left[] = "the file became shorter";
    struct stat st;
    if (fstat(in, &st) != 0)
        return place_errno(detail, errno, "look at", from);
    uint64_t left = (uint64_t)st.st_size;
    while (left > 0) {
        /* In the kernel: no buffer of ours, and it shares blocks where the file system can. */
        ssize_t n = copy_file_range(in, NULL, out, NULL, left < COPY_BYTES ? left : COPY_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return place_errno(detail, errno, "copy to", to);
        if (n == 0)
            return err_say(detail, ERR_IO, "cannot copy %s: %s", from, zero_left);
        left -= (uint64_t)n;
    }
    if (fsync(out) != 0)
        return place_errno(detail, errno, "sync", to);
    *ret_bytes = (uint64_t)st.st_size;
    return OK;
}

enum err place_copy(const char *from, const char *to, uint64_t *ret_bytes,
                    struct err_detail *detail)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return place_errno(detail, errno, "open", from);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0) {
        int number = errno;
        close(in);
        return place_errno(detail, number, "create", to);
    }
    enum err e = copy_bytes(in, out, ret_bytes, from, to, detail);
    close(in);
    close(out);
    if (e != OK)
        unlink(to);
    return e;
}

static bool writes_fail(int fd, off_t at)
{
    static const char zeros[64u << 10];
    for (size_t done = 0; done < SCRATCH_BYTES;) {
        ssize_t n = pwrite(fd, zeros, sizeof zeros, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
        done += (size_t)n;
    }
    return false;
}

bool place_is_full(const char *file)
{
    char scratch[PLACE_PATH_CAP];
    int n = snprintf(scratch, sizeof scratch, "%s.room-XXXXXX", file);
    struct stat st;
    if (n < 0 || n >= (int)sizeof scratch || stat(file, &st) != 0)
        return false;
    int fd = mkostemp(scratch, O_CLOEXEC);
    if (fd < 0)
        return errno == ENOSPC || errno == EDQUOT;
    unlink(scratch);
    bool full = writes_fail(fd, st.st_size);
    close(fd);
    return full;
}

uint64_t place_free_bytes(const char *dir)
{
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0)
        return 0;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}
