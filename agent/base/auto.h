/* SPDX-License-Identifier: Apache-2.0 */
/* auto.h: scope-bound ownership.  AUTO(x_freep) on a declaration runs x_freep(&var) at scope exit;
 * TAKE(var) moves the value out on the success line.  A function uses AUTO or goto, never both. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define AUTO(fn) __attribute__((cleanup(fn)))

/* Reads a pointer and leaves NULL behind, so that the cleanup has nothing left to free. */
#define TAKE(p)                                   \
	({                                        \
		__typeof__(p) take_tmp_ = (p);    \
		(p) = NULL;                       \
		take_tmp_;                        \
	})

#define TAKE_FD(fd)                               \
	({                                        \
		int take_fd_tmp_ = (fd);          \
		(fd) = -1;                        \
		take_fd_tmp_;                     \
	})

/* Discards a result on purpose; the reason belongs in a comment beside it. */
#define IGNORE(call)                                             \
	do {                                                     \
		__typeof__(call) ignore_tmp_ __attribute__((unused)) = (call); \
	} while (0)

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void close_fdp(int *fd)
{
	if (*fd >= 0)
		IGNORE(close(*fd)); /* nothing can be done about a failed close of a descriptor we drop */
}
