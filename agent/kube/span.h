/* SPDX-License-Identifier: Apache-2.0 */
/* span.h: looks into JSON text without building a tree, for the few members that framing needs (the type of a watch
 * event, a resourceVersion).  Pure.  It trusts the text to be JSON: nonsense gives "absent", never a read past the end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct span {
	const char *p; /* NULL = absent */
	size_t len;
};

/* The value of member 'name' of the object 'json', as raw text (strings with their quotes). */
struct span span_member(struct span json, const char *name);

/* A string value without escapes into 'buf'; false (and "" in buf) when it is absent, no such string, or too long. */
bool span_text(struct span value, char *buf, size_t size);

/* The value is the string 'text'. */
bool span_is(struct span value, const char *text);
