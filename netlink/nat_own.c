/* SPDX-License-Identifier: Apache-2.0 */
/* nat_own.c: remembers which chains that come and go are there, so that none is made twice (its rules would be there
 * twice) and each is removed after its last use.  It talks to nobody: nat_if, nat_read and nat_apply tell it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/nat_private.h"

#define BUCKETS_MIN 64

/* FNV-1a. */
static size_t hash(const char *name)
{
	uint32_t h = 2166136261u;

	while (*name)
		h = (h ^ (unsigned char)*name++) * 16777619u;
	return h;
}

/* Where a pointer to the chain of that name stands, or would. */
static struct nat_own_chain **place(const struct nat_own *o, const char *name)
{
	struct nat_own_chain **at = &o->buckets[hash(name) & (o->n_buckets - 1)];

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

struct nat_own_chain *nat_own_find(const struct nat_own *o, const char *name)
{
	return o->n_buckets ? *place(o, name) : NULL;
}

static int grow(struct nat_own *o)
{
	struct nat_own more = { .n_buckets = o->n_buckets ? o->n_buckets * 2 : BUCKETS_MIN };

	more.buckets = calloc(more.n_buckets, sizeof(struct nat_own_chain *));
	if (!more.buckets)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_buckets; i++)
		while (o->buckets[i]) {
			struct nat_own_chain *c = o->buckets[i], **at = place(&more, c->name);

			o->buckets[i] = c->next;
			c->next = NULL;
			*at = c;
		}
	free(o->buckets);
	o->buckets = more.buckets;
	o->n_buckets = more.n_buckets;
	return 0;
}

int nat_own_add(struct nat_own *o, const char *name)
{
	struct nat_own_chain *c = nat_own_find(o, name);
	size_t len = strlen(name) + 1;

	if (!c) {
		if (o->n >= o->n_buckets && grow(o) < 0)
			return -ENOMEM;
		c = calloc(1, sizeof(*c) + len);
		if (!c)
			return -ENOMEM;
		memcpy(c->name, name, len);
		*place(o, name) = c;
		o->n++;
	}
	c->seen = true;
	return 0;
}

static void unlink_at(struct nat_own *o, struct nat_own_chain **at)
{
	struct nat_own_chain *c = *at;

	nat_own_set_idle(o, c, false);
	*at = c->next;
	free(c);
	o->n--;
}

void nat_own_del(struct nat_own *o, const char *name)
{
	if (nat_own_find(o, name))
		unlink_at(o, place(o, name));
}

static void forget(void *ctx, struct nat_own_chain *c)
{
	(void)ctx;
	c->seen = false;
}

void nat_own_begin(struct nat_own *o)
{
	nat_own_walk(o, forget, NULL);
}

void nat_own_end(struct nat_own *o)
{
	for (size_t i = 0; i < o->n_buckets; i++)
		for (struct nat_own_chain **at = &o->buckets[i]; *at;) {
			if ((*at)->seen)
				at = &(*at)->next;
			else
				unlink_at(o, at);
		}
}

void nat_own_set_idle(struct nat_own *o, struct nat_own_chain *c, bool idle)
{
	o->n_idle += idle;
	o->n_idle -= c->idle;
	c->idle = idle;
}

void nat_own_walk(const struct nat_own *o, void (*each)(void *ctx, struct nat_own_chain *c), void *ctx)
{
	for (size_t i = 0; i < o->n_buckets; i++)
		for (struct nat_own_chain *c = o->buckets[i]; c; c = c->next)
			each(ctx, c);
}

void nat_own_fini(struct nat_own *o)
{
	nat_own_begin(o);
	nat_own_end(o);
	free(o->buckets);
	*o = (struct nat_own){ 0 };
}
