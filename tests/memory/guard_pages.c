/* An allocator for tests: a block of torch's ends where a page begins that nobody may touch.

   What reads or writes past the end of a block then dies at once. The C library's own checks look at the end of a block only
   when it is freed, and see nothing of a program that writes back what it read there. Loaded with LD_PRELOAD. Blocks that are
   not asked for by posix_memalign, as torch and oneDNN do it, are the C library's as ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, SMALLEST = 256, LINE = 64, SLOTS = 1 << 16, NOISE = 0xA5 };

static struct slot { char *block, *base; size_t length, size; } table[SLOTS]; /* By address, open addressing. */
static char *const GONE = (char *)1;
static volatile int lock;

static void enter(void) { while (__sync_lock_test_and_set(&lock, 1)); }
static void leave(void) { __sync_lock_release(&lock); }

static struct slot *find(char *block) { /* Its slot, or none. */
    unsigned position = ((uintptr_t)block / LINE) * 2654435761u % SLOTS;
    for (unsigned tried = 0; tried < SLOTS && table[position].block; tried++, position = (position + 1) % SLOTS)
        if (table[position].block == block) return &table[position];
    return NULL;
}

static struct slot *take(char *block) { /* A slot for it, or none if all are taken. */
    unsigned position = ((uintptr_t)block / LINE) * 2654435761u % SLOTS;
    for (unsigned tried = 0; tried < SLOTS; tried++, position = (position + 1) % SLOTS)
        if (!table[position].block || table[position].block == GONE) return &table[position];
    return NULL;
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    static int (*plain)(void **, size_t, size_t);
    if (!plain) plain = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    if (size < SMALLEST || alignment > PAGE) return plain(result, alignment, size);
    size_t room = (size + LINE - 1) / LINE * LINE;
    if (alignment > LINE) room = (size + alignment - 1) / alignment * alignment;
    size_t body = (room + PAGE - 1) / PAGE * PAGE;
    char *base = mmap(NULL, body + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return plain(result, alignment, size); /* Out of mappings: unwatched. */
    mprotect(base + body, PAGE, PROT_NONE);
    char *block = base + body - room;
    memset(block, NOISE, room);
    enter();
    struct slot *slot = take(block);
    if (slot) *slot = (struct slot){block, base, body + PAGE, size};
    leave();
    if (!slot) {
        munmap(base, body + PAGE);
        return plain(result, alignment, size);
    }
    *result = block;
    return 0;
}

void free(void *block) {
    static void (*plain)(void *);
    if (!plain) plain = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    if (!block) return;
    enter();
    struct slot *slot = find(block);
    struct slot ended = slot ? *slot : (struct slot){0};
    if (slot) slot->block = GONE;
    leave();
    if (!slot) {
        plain(block);
        return;
    }
    /* The few bytes between the block's end and the page. */
    for (char *byte = ended.block + ended.size; byte < ended.base + ended.length - PAGE; byte++)
        if (*(unsigned char *)byte != NOISE) abort();
    munmap(ended.base, ended.length);
}
