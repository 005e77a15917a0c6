/* An allocator for tests: a block of torch's ends where a page begins that nobody may touch.

   What reads or writes past the end of a block then dies at once. The C library's own checks look at the end of a block only
   when it is freed, and see nothing of a program that writes back what it read there. Loaded with LD_PRELOAD. Blocks that are
   not asked for by posix_memalign, as torch and oneDNN do it, are the C library's as ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define REGION ((size_t)1 << 42) /* Addresses, not memory, for all blocks of a process. */
enum { PAGE = 4096, SMALLEST = 256, LINE = 64, NOISE = 0xFF, KEPT = 2048 };
enum { NOBODYS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };

static char *region; /* NULL if there is none: then no block is watched. */
static size_t used;
static size_t *sizes;     /* By page: what was asked for of the block that begins there. */
static char *idle[KEPT];  /* By how many pages: places of blocks that ended, each with the next one's address at its start. */
static volatile int lock; /* Of `idle`. */
static int (*plain_memalign)(void **, size_t, size_t);
static void (*plain_free)(void *);

__attribute__((constructor)) static void begin(void) {
    if (plain_free) return;
    plain_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    plain_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    sizes = mmap(NULL, REGION / PAGE * sizeof *sizes, PROT_READ | PROT_WRITE, NOBODYS, -1, 0);
    char *all = mmap(NULL, REGION, PROT_NONE, NOBODYS, -1, 0);
    if (sizes != MAP_FAILED && all != MAP_FAILED) region = all;
}

static void enter(void) { while (__sync_lock_test_and_set(&lock, 1)); }
static void leave(void) { __sync_lock_release(&lock); }

static size_t rounded(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

static char *place(size_t pages) { /* So many pages with one behind them that nobody may touch, or NULL. */
    char *base = NULL;
    if (pages < KEPT) {
        enter();
        base = idle[pages];
        if (base) idle[pages] = *(char **)base;
        leave();
    }
    if (base) return base;
    size_t start = __atomic_fetch_add(&used, (pages + 1) * PAGE, __ATOMIC_RELAXED);
    if (start + (pages + 1) * PAGE > REGION) return NULL;
    return mprotect(region + start, pages * PAGE, PROT_READ | PROT_WRITE) ? NULL : region + start;
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    if (!plain_memalign) begin(); /* Another library's constructor came first. */
    if (!region || size < SMALLEST || alignment > PAGE) return plain_memalign(result, alignment, size);
    size_t room = rounded(size, alignment > LINE ? alignment : LINE), pages = (room + PAGE - 1) / PAGE;
    char *base = place(pages);
    if (!base) return plain_memalign(result, alignment, size); /* Out of places or mappings: unwatched. */
    char *block = base + pages * PAGE - room;
    memset(block, NOISE, room);
    sizes[(block - region) / PAGE] = size;
    *result = block;
    return 0;
}

void free(void *pointer) {
    char *block = pointer;
    if (!region || block < region || block >= region + REGION) {
        if (!plain_free) begin();
        plain_free(block);
        return;
    }
    size_t size = sizes[(block - region) / PAGE];
    char *base = region + (block - region) / PAGE * PAGE;
    size_t pages = (block - base + size + PAGE - 1) / PAGE;
    /* The few bytes between the block's end and the page. */
    for (char *byte = block + size; byte < base + pages * PAGE; byte++)
        if (*(unsigned char *)byte != NOISE) abort();
    if (pages >= KEPT) {
        mmap(base, pages * PAGE, PROT_NONE, NOBODYS | MAP_FIXED, -1, 0);
        return;
    }
    enter();
    *(char **)base = idle[pages];
    idle[pages] = base;
    leave();
}
