/* Shifts the wall clock of the processes that it is preloaded into by as many seconds as a shared file says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static volatile long *shift_s;
static int (*theirs)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("QUANTAI_CLOCK_SHIFT");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    theirs = dlsym(RTLD_NEXT, "clock_gettime");
    if (file >= 0) {
        void *at = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
        shift_s = at == MAP_FAILED ? NULL : at;
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!theirs) theirs = dlsym(RTLD_NEXT, "clock_gettime");
    int code = theirs(clock, now);
    if (!code && clock == CLOCK_REALTIME && shift_s) now->tv_sec += *shift_s;
    return code;
}
