/* SPDX-License-Identifier: Apache-2.0 */
/* table.c: cells are kept as texts until all are there; then columns get their widths. */
#include "agent/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CELL_MAX 512 /* of a text, NUL included */
#define GAP 2	     /* blanks between columns */

struct cell {
	uint32_t at; /* in texts */
	uint16_t len;
	uint8_t paint;
	bool line; /* a row of its own */
};

/* Select Graphic Rendition (ECMA-48 section 8.3.117). */
static const char *const codes[PAINT_N] = {
	[PAINT_NONE] = "", [PAINT_HEAD] = "\033[1m", [PAINT_GOOD] = "\033[32m", [PAINT_WARN] = "\033[33m",
	[PAINT_BAD] = "\033[1;31m", [PAINT_DIM] = "\033[2m",
};

/* ---- texts ---- */

static void put(struct buf *out, bool colour, enum paint paint, const char *text, size_t len)
{
	bool on = colour && paint != PAINT_NONE;

	if (on)
		buf_puts(out, codes[paint]);
	buf_append(out, text, len);
	if (on)
		buf_puts(out, "\033[0m");
}

void paint_text(struct buf *out, bool colour, enum paint paint, const char *text)
{
	put(out, colour, paint, text, strlen(text));
}

static void blanks(struct buf *out, size_t n)
{
	static const char some[] = "                                ";

	for (; n > sizeof(some) - 1; n -= sizeof(some) - 1)
		buf_append(out, some, sizeof(some) - 1);
	buf_append(out, some, n);
}

void paint_wrapped(struct buf *out, unsigned int width, unsigned int column, const char *text)
{
	unsigned int at = column;

	while (*text) {
		size_t all = strcspn(text, " \n"), len = all < width - column ? all : width - column;

		if (at > column && at + 1 + len > width) {
			buf_puts(out, "\n");
			blanks(out, column);
			at = column;
		} else if (at > column) {
			buf_puts(out, " ");
			at++;
		}
		for (size_t i = 0; i < len; i++)
			buf_append(out, text[i] >= ' ' && text[i] <= '~' ? &text[i] : "?", 1);
		at += (unsigned int)len;
		text += all;
		text += strspn(text, " \n");
	}
	buf_puts(out, "\n");
}

/* ---- filling ---- */

void table_init(struct table *t, const struct table_column *columns, unsigned int n, size_t max_rows)
{
	assert(n <= TABLE_COLUMNS_MAX);
	*t = (struct table){ .columns = columns, .n_columns = n, .texts = BUF_INIT(max_rows * CELL_MAX),
			     .cells = BUF_INIT(max_rows * n * sizeof(struct cell)) };
}

void table_fini(struct table *t)
{
	buf_fini(&t->texts);
	buf_fini(&t->cells);
}

static void PRINTF_LIKE(3, 0) add(struct table *t, struct cell c, const char *fmt, va_list args)
{
	char text[CELL_MAX];
	int n = vsnprintf(text, sizeof(text), fmt, args);

	c.len = (uint16_t)(n < 0 ? 0 : n < CELL_MAX ? n : CELL_MAX - 1);
	c.at = (uint32_t)t->texts.len;
	for (size_t i = 0; i < c.len; i++)
		if (text[i] < ' ' || text[i] > '~')
			text[i] = '?'; /* what others have named must not speak to the terminal */
	buf_append(&t->texts, text, c.len);
	buf_append(&t->cells, &c, sizeof(c));
}

void table_cell(struct table *t, enum paint paint, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(t, (struct cell){ .paint = (uint8_t)paint }, fmt, args);
	va_end(args);
	t->at = (t->at + 1) % t->n_columns;
}

void table_line(struct table *t, enum paint paint, const char *fmt, ...)
{
	va_list args;

	assert(t->at == 0);
	va_start(args, fmt);
	add(t, (struct cell){ .paint = (uint8_t)paint, .line = true }, fmt, args);
	va_end(args);
}

/* ---- putting ---- */

/* Takes from the widest column that may be cut, until the line fits or there is none. */
static void fit(const struct table *t, unsigned int width, unsigned int widths[static TABLE_COLUMNS_MAX])
{
	unsigned int total = GAP * (t->n_columns - 1);

	for (unsigned int i = 0; i < t->n_columns; i++)
		total += widths[i];
	while (total > width) {
		unsigned int most = t->n_columns;

		for (unsigned int i = 0; i < t->n_columns; i++)
			if (t->columns[i].cuts && widths[i] > TABLE_CUT_MIN && (most == t->n_columns || widths[i] > widths[most]))
				most = i;
		if (most == t->n_columns)
			return;
		widths[most]--;
		total--;
	}
}

static const struct cell *cell_at(const struct table *t, size_t i)
{
	return (const struct cell *)(const void *)t->cells.data + i;
}

static void measure(const struct table *t, unsigned int widths[static TABLE_COLUMNS_MAX])
{
	size_t n = t->cells.len / sizeof(struct cell);
	unsigned int column = 0;

	for (unsigned int i = 0; i < t->n_columns; i++)
		widths[i] = (unsigned int)strlen(t->columns[i].head);
	for (size_t i = 0; i < n; i++) {
		const struct cell *c = cell_at(t, i);

		if (c->line)
			continue;
		if (c->len > widths[column])
			widths[column] = c->len;
		column = (column + 1) % t->n_columns;
	}
}

/* Where a table goes. */
struct sheet {
	const struct table *t;
	unsigned int widths[TABLE_COLUMNS_MAX];
	bool colour;
	struct buf *out;
};

/* One cell; behind the last one of a row nothing. */
static void put_cell(const struct sheet *s, unsigned int i, enum paint paint, const char *text, size_t len)
{
	const struct table_column *column = &s->t->columns[i];
	bool last = i + 1 == s->t->n_columns;
	size_t width = s->widths[i], head;
	char cut[CELL_MAX];

	if (len > width) { /* what names differ in is at their ends more often than in the middle */
		head = (width - 1) / 2;
		memcpy(cut, text, head);
		memcpy(cut + head, "..", 2);
		memcpy(cut + head + 2, text + len - (width - head - 2), width - head - 2);
		text = cut;
		len = width;
	}
	if (column->right)
		blanks(s->out, width - len);
	put(s->out, s->colour, paint, text, len);
	if (!column->right && !last)
		blanks(s->out, width - len);
	buf_puts(s->out, last ? "\n" : "  ");
}

/* As many lines as it takes, under each other. */
static void put_line(const struct sheet *s, const struct cell *c, unsigned int width)
{
	unsigned int indent = 0;
	char text[CELL_MAX];

	memcpy(text, s->t->texts.data + c->at, c->len);
	text[c->len] = '\0';
	while (text[indent] == ' ')
		indent++;
	if (s->colour)
		buf_puts(s->out, codes[c->paint]);
	blanks(s->out, indent);
	paint_wrapped(s->out, width, indent, text + indent);
	if (s->colour && c->paint != PAINT_NONE)
		buf_puts(s->out, "\033[0m");
}

bool table_put(const struct table *t, unsigned int width, bool colour, struct buf *out)
{
	struct sheet s = { .t = t, .colour = colour, .out = out };
	size_t n = t->cells.len / sizeof(struct cell);
	unsigned int column = 0;

	if (buf_failed(&t->texts) || buf_failed(&t->cells))
		return false;
	measure(t, s.widths);
	fit(t, width, s.widths);
	for (unsigned int i = 0; i < t->n_columns; i++)
		put_cell(&s, i, PAINT_HEAD, t->columns[i].head, strlen(t->columns[i].head));
	for (size_t i = 0; i < n; i++) {
		const struct cell *c = cell_at(t, i);
		const char *text = t->texts.data + c->at;

		if (c->line) {
			put_line(&s, c, width);
			continue;
		}
		put_cell(&s, column, (enum paint)c->paint, text, c->len);
		column = (column + 1) % t->n_columns;
	}
	return true;
}
