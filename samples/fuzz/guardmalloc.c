/* An allocator that makes heap errors fault at once: each block ends where a page without rights begins, and freed blocks lose their
 * rights. Linked into a target before libc: `gcc -static target.c guardmalloc.c`. Works with static glibc and musl.
 *
 * Blocks end at the page to the byte, but for what GUARD_ALIGN (default 1) asks: objects with a vector register in them need 16.
 * Layout: [head page: struct block][pages of the block][page without rights], each block an mmap of its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef GUARD_ALIGN
#define GUARD_ALIGN 1
#endif

enum { PAGE = 4096, KEPT = 512 };

struct block {
    size_t size, length; /* bytes asked for; bytes of the mapping */
    void *data;          /* what malloc returned */
    uint64_t magic;
};

static const uint64_t MAGIC = 0x6b636f6c42646147ull;
static struct block *kept[KEPT]; /* freed blocks: their addresses do not come again soon */
static unsigned next_kept;

static struct block *of(void *pointer)
{
    struct block *block = (struct block *)(((uintptr_t)pointer & -PAGE) - PAGE);
    if (block->magic != MAGIC && ((uintptr_t)pointer & (PAGE - 1)) == 0)
        block = (struct block *)((char *)block - PAGE); /* a block of no bytes lies at its end */
    if (block->magic != MAGIC || block->data != pointer)
        abort(); /* not the beginning of a block */
    return block;
}

static void *allocate(size_t size, size_t align)
{
    size_t round = size + (-size & (align - 1)), pages = (round + PAGE - 1) & -(size_t)PAGE;
    if (size > (size_t)1 << 40) {
        errno = ENOMEM;
        return NULL;
    }
    if (pages == 0)
        pages = PAGE;
    char *start = mmap(NULL, pages + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
        errno = ENOMEM;
        return NULL;
    }
    if (mprotect(start + PAGE + pages, PAGE, PROT_NONE) != 0) {
        munmap(start, pages + 2 * PAGE);
        errno = ENOMEM;
        return NULL;
    }
    /* It begins in the first of its pages: `of` finds the head from any pointer that malloc gave. */
    void *data = start + PAGE + pages - round;
    *(struct block *)start = (struct block){size, pages + 2 * PAGE, data, MAGIC};
    return data;
}

void *malloc(size_t size) { return allocate(size, GUARD_ALIGN); }

void free(void *pointer)
{
    if (pointer == NULL)
        return;
    int before = errno;
    struct block *block = of(pointer);
    size_t length = block->length;
    struct block *old = kept[next_kept];
    if (old != NULL) {
        mprotect(old, PAGE, PROT_READ);
        munmap(old, old->length);
    }
    kept[next_kept] = block;
    next_kept = (next_kept + 1) % KEPT;
    mprotect(block, length, PROT_NONE);
    errno = before;
}

void *calloc(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return malloc(total); /* fresh pages are zero */
}

size_t malloc_usable_size(void *pointer)
{
    return pointer == NULL ? 0 : of(pointer)->size;
}

void *realloc(void *pointer, size_t size)
{
    if (pointer == NULL)
        return malloc(size);
    if (size == 0) {
        free(pointer);
        return NULL;
    }
    size_t before = malloc_usable_size(pointer);
    void *fresh = malloc(size);
    if (fresh != NULL) {
        memcpy(fresh, pointer, before < size ? before : size);
        free(pointer);
    }
    return fresh;
}

void *memalign(size_t align, size_t size) { return align > PAGE || align & (align - 1) ? NULL : allocate(size, align ? align : 1); }
void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

int posix_memalign(void **to, size_t align, size_t size)
{
    void *made = memalign(align, size);
    if (made != NULL)
        *to = made;
    return made != NULL ? 0 : align > PAGE ? EINVAL : ENOMEM;
}
