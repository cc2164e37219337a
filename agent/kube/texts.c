/* SPDX-License-Identifier: Apache-2.0 */
/* texts.c: equal strings are neighbours once sorted, and share a copy. */
#include "agent/kube/texts.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

int texts_init(struct texts *t, size_t cap)
{
	*t = (struct texts){ .v = calloc(cap ? cap : 1, sizeof(*t->v)), .cap = cap };
	return t->v ? 0 : -ENOMEM;
}

void texts_fini(struct texts *t)
{
	free(t->v);
	*t = (struct texts){ .v = NULL };
}

void texts_add(struct texts *t, const char **text)
{
	assert(t->n < t->cap);
	t->v[t->n++] = text;
}

static int by_text(const void *a, const void *b)
{
	const char *const *const *x = a, *const *const *y = b;

	return strcmp(**x, **y);
}

/* Whether the i-th is the first of its kind. */
static bool is_new(const struct texts *t, size_t i)
{
	return i == 0 || strcmp(*t->v[i], *t->v[i - 1]) != 0;
}

size_t texts_size(struct texts *t)
{
	size_t size = 0;

	qsort(t->v, t->n, sizeof(*t->v), by_text);
	for (size_t i = 0; i < t->n; i++)
		if (is_new(t, i))
			size += strlen(*t->v[i]) + 1;
	return size;
}

void texts_move(const struct texts *t, char *to)
{
	const char *last = NULL;

	for (size_t i = 0; i < t->n; i++) {
		if (!last || strcmp(*t->v[i], last) != 0) {
			size_t n = strlen(*t->v[i]) + 1;

			memcpy(to, *t->v[i], n);
			last = to;
			to += n;
		}
		*t->v[i] = last;
	}
}
