/* SPDX-License-Identifier: Apache-2.0 */
/* table.h: a table for people: columns as wide as what stands in them, cut where the line would become too long. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"

#define TABLE_COLUMNS_MAX 12
#define TABLE_CUT_MIN 8 /* a column is not cut below this */

enum paint {
	PAINT_NONE,
	PAINT_HEAD, /* bold */
	PAINT_GOOD, /* green */
	PAINT_WARN, /* yellow */
	PAINT_BAD,  /* red, bold */
	PAINT_DIM,  /* what only repeats, or is of no concern */
	PAINT_N,
};

struct table_column {
	const char *head;
	bool right; /* numbers */
	bool cuts;  /* may be cut in the middle */
};

struct table {
	const struct table_column *columns;
	unsigned int n_columns;
	unsigned int at; /* column of the next cell */
	struct buf texts, cells;
};

/* columns[0..n): borrowed.  max_rows bounds its memory; what does not fit makes it fail. */
void table_init(struct table *t, const struct table_column *columns, unsigned int n, size_t max_rows);
void table_fini(struct table *t);

/* The next cell, from left to right; a row begins with the first column.  Bytes that are no printable ASCII become '?'. */
void table_cell(struct table *t, enum paint paint, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A row that is one text, from the first column on, in several lines if need be, each as far to the right as it begins.
 * Only where a row would begin. */
void table_line(struct table *t, enum paint paint, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Headings and rows, in lines of at most 'width' columns as far as cutting helps.  False: no memory; nothing was put. */
bool table_put(const struct table *t, unsigned int width, bool colour, struct buf *out);

/* A text in that colour. */
void paint_text(struct buf *out, bool colour, enum paint paint, const char *text);

/* A text in lines of at most 'width' columns, broken at blanks: the first goes on where the line stands, 'column' columns
 * in; the others are indented as far.  A word that is longer than a line is cut. */
void paint_wrapped(struct buf *out, unsigned int width, unsigned int column, const char *text);
