/* System calls that fail on demand, for processes started with LD_PRELOAD=<this library>.
 *
 * A process arms the library once. From then on it counts the chosen kinds of calls that concern files below one
 * folder, and lets the chosen one fail: with an errno, with half of a write, or with SIGKILL in the middle of it.
 * It can also record every change of these files, from which a power cut is played back.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, FSYNC = 4, RENAME = 8, UNLINK = 16, READ = 32, MKDIR = 64 };
enum { SHORT = -1, KILL = -9 };

static char folder[PATH_MAX];
static int kinds, fault, repeats, journal = -1;
static atomic_int countdown;
static _Atomic(int32_t) *landed;

/* Lets the `after`-th call of these kinds below `path` fail, and all later ones if `again`; `count` counts the faults. */
void faulty_arm(const char *path, int which, int after, int what, int again, int32_t *count) {
    strncpy(folder, path, PATH_MAX - 1);
    kinds = which, fault = what, repeats = again, landed = (_Atomic(int32_t) *)count;
    atomic_store(&countdown, after);
}

/* Writes every change of the files below `path` to the file descriptor `to`. */
void faulty_record(const char *path, int to) {
    strncpy(folder, path, PATH_MAX - 1);
    journal = to;
}

static int within(const char *path) {
    return folder[0] && strncmp(path, folder, strlen(folder)) == 0;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0 && within(path);
}

static void full_path(int dir, const char *name, char *path) {
    if (name[0] == '/') { snprintf(path, PATH_MAX, "%s", name); return; }
    char base[PATH_MAX];
    if (dir == AT_FDCWD ? getcwd(base, sizeof base) == NULL : !path_of(dir, base)) base[0] = 0;
    snprintf(path, PATH_MAX, "%s/%s", base, name);
}

/* 0, or what befalls this call. */
static int befalls(int kind, const char *path) {
    if (!(kinds & kind) || !within(path)) return 0;
    int left = atomic_fetch_sub(&countdown, 1);
    if (left == 1 || (repeats && left < 1)) {
        if (landed) atomic_fetch_add(landed, 1);
        return fault;
    }
    return 0;
}

static void put(const void *data, size_t size) {
    if (syscall(SYS_write, journal, data, size) < 0) _exit(90);
}

static void record(char kind, const char *path, const char *other, int64_t offset, const void *data, int64_t size) {
    if (journal < 0 || !within(path)) return;
    static atomic_flag busy = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&busy)) ;
    char head[2 * PATH_MAX + 80];
    int length = snprintf(head, sizeof head, "%c\t%s\t%s\t%lld\t%lld\n", kind, path, other, (long long)offset, (long long)size);
    put(head, length);
    if (size > 0 && data) put(data, size);
    atomic_flag_clear(&busy);
}

#define REAL(name) static typeof(name) *real; if (!real) real = (typeof(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL(kind, path) \
    do { int what = befalls(kind, path); \
         if (what == KILL) kill(getpid(), SIGKILL); \
         if (what > 0) { errno = what; return -1; } } while (0)

static int opened(int dir, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    full_path(dir, name, path);
    if (flags & (O_CREAT | O_WRONLY | O_RDWR)) FAIL(OPEN, path);
    struct stat before;
    int fresh = (flags & O_CREAT) && within(path) && stat(path, &before) != 0;
    int fd = (int)syscall(SYS_openat, dir, name, flags, mode);
    if (fd >= 0 && fresh) record('C', path, "", 0, NULL, 0);
    if (fd >= 0 && (flags & O_TRUNC) && !fresh) record('T', path, "", 0, NULL, 0);
    return fd;
}

#define OPENS(name, before, dir) \
    int name(before const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; va_end(more); \
        return opened(dir, path, flags, mode); }
#define WITH_DIR int where,
OPENS(open, , AT_FDCWD)
OPENS(open64, , AT_FDCWD)
OPENS(openat, WITH_DIR, where)
OPENS(openat64, WITH_DIR, where)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    char path[PATH_MAX];
    if ((kinds & WRITE || journal >= 0) && fd != journal && path_of(fd, path)) {
        int what = befalls(WRITE, path);
        if (what == KILL) { syscall(SYS_write, fd, data, size / 2); kill(getpid(), SIGKILL); }
        if (what == SHORT && size > 1) size /= 2;
        if (what > 0) { errno = what; return -1; }
        int64_t at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
        ssize_t done = real(fd, data, size);
        if (done > 0) record('W', path, "", at, data, done);
        return done;
    }
    return real(fd, data, size);
}

ssize_t read(int fd, void *data, size_t size) {
    REAL(read);
    char path[PATH_MAX];
    if (kinds & READ && path_of(fd, path)) FAIL(READ, path);
    return real(fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) {
    REAL(pread);
    char path[PATH_MAX];
    if (kinds & READ && path_of(fd, path)) FAIL(READ, path);
    return real(fd, data, size, at);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    REAL(pread64);
    char path[PATH_MAX];
    if (kinds & READ && path_of(fd, path)) FAIL(READ, path);
    return real(fd, data, size, at);
}

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    char path[PATH_MAX];
    int ours = (kinds & WRITE || journal >= 0) && path_of(fd, path);
    if (ours) FAIL(WRITE, path);
    int done = real(fd, size);
    if (ours && done == 0) record('Z', path, "", size, NULL, 0);
    return done;
}

#define SYNCS(name) \
    int name(int fd) { \
        REAL(name); char path[PATH_MAX]; \
        if ((kinds & FSYNC || journal >= 0) && path_of(fd, path)) { FAIL(FSYNC, path); record('S', path, "", 0, NULL, 0); } \
        return real(fd); }
SYNCS(fsync)
SYNCS(fdatasync)

static int renamed(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char source[PATH_MAX], target[PATH_MAX];
    full_path(from_dir, from, source), full_path(to_dir, to, target);
    FAIL(RENAME, target);
    int done = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (done == 0) record('R', source, target, 0, NULL, 0);
    return done;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int unlinked(int dir, const char *name, int flags) {
    char path[PATH_MAX];
    full_path(dir, name, path);
    FAIL(UNLINK, path);
    int done = (int)syscall(SYS_unlinkat, dir, name, flags);
    if (done == 0) record('U', path, "", 0, NULL, 0);
    return done;
}
int unlink(const char *name) { return unlinked(AT_FDCWD, name, 0); }
int unlinkat(int dir, const char *name, int flags) { return unlinked(dir, name, flags); }
int rmdir(const char *name) { return unlinked(AT_FDCWD, name, AT_REMOVEDIR); }

static int made(int dir, const char *name, mode_t mode) {
    char path[PATH_MAX];
    full_path(dir, name, path);
    FAIL(MKDIR, path);
    int done = (int)syscall(SYS_mkdirat, dir, name, mode);
    if (done == 0) record('M', path, "", 0, NULL, 0);
    return done;
}
int mkdir(const char *name, mode_t mode) { return made(AT_FDCWD, name, mode); }
int mkdirat(int dir, const char *name, mode_t mode) { return made(dir, name, mode); }
