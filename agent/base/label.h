/* SPDX-License-Identifier: Apache-2.0 */
/* label.h: those labels of an object that somebody asked for.  Bounded, whatever the object has. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define LABEL_VALUE_MAX 64 /* a label's value has 63 characters at most (IsValidLabelValue in apimachinery) */
#define LABELS_MAX 32

struct label {
	const char *key; /* asked for; the asker's */
	bool there;
	char value[LABEL_VALUE_MAX];
};

struct labels {
	struct label v[LABELS_MAX];
	size_t n;
};
