/* A machine that is not as it should be, put before the C library with LD_PRELOAD:

     SHIM_CLOCK=s    the wall clock is s seconds ahead
     SHIM_JUMP=s     and jumps by s seconds a fifth of a second after the program began
     SHIM_LOCKS=no   no file can be locked
     SHIM_LOCKS=lie  every lock succeeds and keeps nobody out  */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

static double monotonic(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static double begun;
static long ahead, jump;
static char locks;

__attribute__((constructor)) static void begin(void) {
    const char *how = getenv("SHIM_LOCKS");
    begun = monotonic();
    ahead = number("SHIM_CLOCK");
    jump = number("SHIM_JUMP");
    locks = how ? how[0] : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += ahead + (monotonic() - begun > 0.2 ? jump : 0);
    return result;
}

static int lock(void) {
    if (locks == 'l')
        return 0;
    errno = ENOLCK;
    return -1;
}

int flock(int file, int operation) {
    return locks ? lock() : syscall(SYS_flock, file, operation);
}

static int control(int file, int command, void *argument) {
    int is_lock = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    return locks && is_lock ? lock() : syscall(SYS_fcntl, file, command, argument);
}

int fcntl(int file, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control(file, command, argument);
}

int fcntl64(int file, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control(file, command, argument);
}
