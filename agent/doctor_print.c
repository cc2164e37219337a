/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_print.c: findings for people (at most 100 columns, but that commands stay whole, to be copied) and for programs. */
#include <string.h>

#include "agent/base/buf.h"
#include "agent/doctor.h"
#include "agent/version.h"

#define COLUMNS 100
#define INDENT 11 /* of what stands under the level */
#define JSON_MAX ((size_t)4 * 1024 * 1024)

static const char *colour_of(enum finding_level level)
{
	static const char *const colours[FINDING_LEVEL_N] = {
		[FINDING_OK] = "\033[32m",
		[FINDING_SKIPPED] = "\033[2m",
		[FINDING_WARNING] = "\033[33m",
		[FINDING_ERROR] = "\033[31m",
	};

	return colours[level];
}

/* Words, broken between COLUMNS; the first line has begun already, up to column 'at'. */
static void put_words(const char *text, size_t at, FILE *out)
{
	bool first = true;

	while (*text) {
		size_t len = strcspn(text, " ");

		if (!first && at + 1 + len > COLUMNS) {
			fprintf(out, "\n%*s", INDENT, "");
			at = INDENT;
		} else if (!first) {
			fputc(' ', out);
			at++;
		}
		fwrite(text, 1, len, out);
		at += len;
		first = false;
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void put_under(const char *text, FILE *out)
{
	if (!text || !*text)
		return;
	fprintf(out, "%*s", INDENT, "");
	put_words(text, INDENT, out);
}

/* After a command it goes on from there. */
static void put_mend(const struct finding *f, FILE *out)
{
	static const char mark[] = "mend: ";

	if (!f->mend || (f->command && *f->command)) {
		put_under(f->mend, out);
		return;
	}
	fprintf(out, "%*s%s", INDENT, "", mark);
	put_words(f->mend, INDENT + sizeof(mark) - 1, out);
}

static void put_commands(const char *lines, FILE *out)
{
	while (lines && *lines) {
		size_t len = strcspn(lines, "\n");

		fprintf(out, "%*s$ %.*s\n", INDENT, "", (int)len, lines);
		lines += len;
		lines += *lines == '\n';
	}
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

void doctor_print_text(const struct findings *f, const char *node, bool colour, FILE *out)
{
	const struct finding *before = NULL;

	fprintf(out, "leasehold %s, node %s\n", version_text(), node);
	for (const struct finding *i = f->first; i; before = i, i = i->next) {
		if (!before || before->section != i->section)
			fprintf(out, "\n%s%s%s\n", colour ? "\033[1m" : "", finding_section_name(i->section), colour ? "\033[0m" : "");
		fprintf(out, "  %s%-7s%s  ", colour ? colour_of(i->level) : "", finding_level_name(i->level), colour ? "\033[0m" : "");
		put_words(i->what, INDENT, out);
		put_under(i->means, out);
		put_commands(i->command, out);
		put_mend(i, out);
	}
	fprintf(out, "\n%zu error%s, %zu warning%s, %zu ok, %zu skipped.  Nothing on this node was changed.\n", f->n[FINDING_ERROR],
		plural(f->n[FINDING_ERROR]), f->n[FINDING_WARNING], plural(f->n[FINDING_WARNING]), f->n[FINDING_OK],
		f->n[FINDING_SKIPPED]);
}

static void put_member(struct buf *b, const char *name, const char *value)
{
	buf_puts(b, ",");
	buf_json_string(b, name);
	buf_puts(b, ":");
	buf_json_string(b, value ? value : "");
}

void doctor_print_json(const struct findings *f, const char *node, FILE *out)
{
	struct buf b = BUF_INIT(JSON_MAX);

	buf_puts(&b, "{\"version\":");
	buf_json_string(&b, version_text());
	put_member(&b, "node", node);
	buf_printf(&b, ",\"errors\":%zu,\"warnings\":%zu,\"ok\":%zu,\"skipped\":%zu,\"findings\":[", f->n[FINDING_ERROR],
		   f->n[FINDING_WARNING], f->n[FINDING_OK], f->n[FINDING_SKIPPED]);
	for (const struct finding *i = f->first; i; i = i->next) {
		buf_puts(&b, i == f->first ? "{\"section\":" : ",{\"section\":");
		buf_json_string(&b, finding_section_name(i->section));
		put_member(&b, "level", finding_level_name(i->level));
		put_member(&b, "what", i->what);
		put_member(&b, "means", i->means);
		put_member(&b, "command", i->command);
		put_member(&b, "mend", i->mend);
		buf_puts(&b, "}");
	}
	buf_puts(&b, "]}\n");
	fputs(buf_text(&b), out);
	buf_fini(&b);
}
