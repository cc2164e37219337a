/* SPDX-License-Identifier: Apache-2.0 */
/* starve.c: a library to preload, which makes a program's allocations fail while a flag says so.
 *
 * LEASEHOLD_STARVE names a file of 24 bytes that the test and the program share as memory:
 *	uint32	mode: 0 none fails; 1 all fail; 2 those fail that the program's own text asks for, libraries get theirs;
 *		3 one in eight of the program's own fails, at random: what began well ends badly
 *	uint32	unused
 *	uint64	how many were refused
 *	uint64	where in the program the last refused one was asked for (as addr2line takes it), 0 = in a library
 *
 * Mode 3 leaves the libraries alone because libcurl 7.88 divides by zero when one certain allocation fails and others do
 * not: singlesocket() in its lib/multi.c keeps a socket's entry whose table of transfers it has emptied.
 *
 * glibc lets each of its own allocations go through these, too; what strdup() and the like take on behalf of the program
 * is the program's. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FED, STARVE_ALL, STARVE_OWN, STARVE_SOME };

struct flag {
	volatile uint32_t mode;
	uint32_t unused;
	uint64_t refused;
	uint64_t last_caller;
};

/* glibc's own, under the names that it keeps for those who stand before them. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
/* The fortified forms, which <stdio.h> does not declare without _FORTIFY_SOURCE. */
int __asprintf_chk(char **ret, int flag, const char *fmt, ...);
int __vasprintf_chk(char **ret, int flag, const char *fmt, va_list ap);

static struct flag *flag;
static uintptr_t base, text_from, text_to;

/* Where the program (not this library) is loaded: its headers are known from the auxiliary vector. */
static void find_text(void)
{
	uintptr_t at = getauxval(AT_PHDR);
	const ElfW(Phdr) *h = (const ElfW(Phdr) *)at;
	size_t n = getauxval(AT_PHNUM);

	for (size_t i = 0; i < n; i++)
		if (h[i].p_type == PT_PHDR)
			base = at - h[i].p_vaddr;
	for (size_t i = 0; i < n; i++) {
		if (h[i].p_type == PT_LOAD && (h[i].p_flags & PF_X)) {
			text_from = base + h[i].p_vaddr;
			text_to = text_from + h[i].p_memsz;
		}
	}
}

__attribute__((constructor)) static void starve_open(void)
{
	const char *path = getenv("LEASEHOLD_STARVE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	find_text();
	p = mmap(NULL, sizeof(*flag), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		flag = p;
	close(fd);
}

/* A linear congruential generator (Knuth's MMIX constants); its upper bits are the good ones. */
static bool one_in_eight(void)
{
	static uint64_t state;
	uint64_t was = __atomic_load_n(&state, __ATOMIC_RELAXED), now = was * 6364136223846793005U + 1442695040888963407U;

	__atomic_store_n(&state, now, __ATOMIC_RELAXED); /* two threads at once may get the same number */
	return now >> 61 == 0;
}

static bool refused(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;
	bool own = at >= text_from && at < text_to;

	if (!flag || flag->mode == FED || (flag->mode == STARVE_OWN && !own) ||
	    (flag->mode == STARVE_SOME && (!own || !one_in_eight())))
		return false;
	__atomic_add_fetch(&flag->refused, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&flag->last_caller, own ? at - base : 0, __ATOMIC_RELAXED);
	errno = ENOMEM;
	return true;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
	return refused(CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return refused(CALLER) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return refused(CALLER) ? NULL : __libc_realloc(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t all;

	if (__builtin_mul_overflow(n, size, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return refused(CALLER) ? NULL : __libc_realloc(p, all);
}

void *memalign(size_t alignment, size_t size)
{
	return refused(CALLER) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return refused(CALLER) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *p = refused(CALLER) ? NULL : __libc_memalign(alignment, size);

	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}

char *strndup(const char *s, size_t max)
{
	size_t n = strnlen(s, max);
	char *p = refused(CALLER) ? NULL : __libc_malloc(n + 1);

	if (!p)
		return NULL;
	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *strdup(const char *s)
{
	size_t n = strlen(s);
	char *p = refused(CALLER) ? NULL : __libc_malloc(n + 1);

	return p ? memcpy(p, s, n + 1) : NULL;
}

int __asprintf_chk(char **ret, int fortify, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (refused(CALLER))
		return -1;
	va_start(ap, fmt);
	n = __vasprintf_chk(ret, fortify, fmt, ap);
	va_end(ap);
	return n;
}

int asprintf(char **ret, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (refused(CALLER))
		return -1;
	va_start(ap, fmt);
	n = vasprintf(ret, fmt, ap);
	va_end(ap);
	return n;
}
