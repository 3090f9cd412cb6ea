/* Loaded into a process with LD_PRELOAD, so that its clock is wrong or its disk is full.
 *
 * CHAOS_CLOCK_S: seconds that the clock on the wall is ahead; monotonic clocks stay as they are.
 * CHAOS_DISK_FULL: while a file of this name exists, regular files do not grow: ENOSPC.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static long ahead_s(void) {
    const char *given = getenv("CHAOS_CLOCK_S");
    return given ? atol(given) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = next(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead_s();
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    static int (*next)(struct timeval *, void *);
    if (!next) next = dlsym(RTLD_NEXT, "gettimeofday");
    int failed = next(at, zone);
    if (!failed) at->tv_sec += ahead_s();
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

/* Whether a write that ends there must fail: the disk is full, and the file would grow. `end` < 0: at its position. */
static int is_full(int fd, off_t end, size_t size) {
    const char *sign = getenv("CHAOS_DISK_FULL");
    struct stat about;
    if (!sign || access(sign, F_OK)) return 0;
    if (fstat(fd, &about) || !S_ISREG(about.st_mode)) return 0;
    if (end < 0) {
        off_t at = fcntl(fd, F_GETFL) & O_APPEND ? about.st_size : lseek(fd, 0, SEEK_CUR);
        end = at + (off_t)size;
    }
    if (end <= about.st_size) return 0;
    errno = ENOSPC;
    return 1;
}

static size_t total(const struct iovec *parts, int count) {
    size_t size = 0;
    for (int part = 0; part < count; part++) size += parts[part].iov_len;
    return size;
}

#define GROWING(name, parameters, arguments, end, size)                   \
    ssize_t name parameters {                                             \
        static ssize_t(*next) parameters;                                 \
        if (!next) next = dlsym(RTLD_NEXT, #name);                        \
        return is_full(fd, end, size) ? -1 : next arguments;              \
    }

GROWING(write, (int fd, const void *data, size_t size), (fd, data, size), -1, size)
GROWING(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), -1, total(parts, count))
GROWING(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), at + (off_t)size, 0)
GROWING(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), at + (off_t)size, 0)
GROWING(pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at),
        at + (off_t)total(parts, count), 0)
GROWING(pwritev64, (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at),
        at + (off_t)total(parts, count), 0)

int posix_fallocate(int fd, off_t at, off_t size) {
    static int (*next)(int, off_t, off_t);
    if (!next) next = dlsym(RTLD_NEXT, "posix_fallocate");
    return is_full(fd, at + size, 0) ? ENOSPC : next(fd, at, size);
}
