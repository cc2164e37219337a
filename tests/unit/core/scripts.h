/* SPDX-License-Identifier: Apache-2.0 */
/* scripts.h: runs scripts in text files, each of which holds what should come out besides what goes in: every line is
 * carried out and written anew, and the whole must be what stood there.
 *
 * LEASEHOLD_GOLDEN_UPDATE=1 writes what came out into the scripts instead of comparing: then the diff is to be read. */
#pragma once

#include "tests/unit/core/make.h"

#include <dirent.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"

#define SCRIPT_MAX ((size_t)1 << 20)

struct script {
	struct buf out; /* as it should be */
	const char *path;
	unsigned int line;
	void *ctx; /* of its language */
};

/* A language. */
struct script_kind {
	void *(*begin)(void);
	void (*line)(struct script *s, const char *line); /* carries it out, and writes it and what comes of it to s->out */
	void (*end)(void *ctx);
};

static inline void first_difference(const char *path, const char *want, const char *got)
{
	unsigned int line = 1;

	for (;;) {
		size_t a = strcspn(want, "\n"), b = strcspn(got, "\n");

		if (a != b || memcmp(want, got, a) != 0) {
			print_error("%s:%u\n  expected: %.*s\n  came out: %.*s\n", path, line, (int)a, want, (int)b, got);
			return;
		}
		want += a + (want[a] == '\n');
		got += b + (got[b] == '\n');
		line++;
	}
}

static inline void script_run(const struct script_kind *kind, const char *path)
{
	struct buf text = BUF_INIT(SCRIPT_MAX);
	struct script s = { .path = path, .out = BUF_INIT(SCRIPT_MAX), .ctx = kind->begin() };
	struct err_info err = ERR_INFO_INIT;
	const char *update = getenv("LEASEHOLD_GOLDEN_UPDATE");
	char *copy, *at;
	bool same;

	if (file_read(path, &text, &err) < 0)
		fail_msg("%s", err.text);
	copy = strdup(buf_text(&text));
	assert_non_null(copy);
	at = copy;
	for (char *line = strsep(&at, "\n"); line && at; line = strsep(&at, "\n")) {
		s.line++;
		kind->line(&s, line);
	}
	assert_int_equal(buf_failed(&s.out), 0);
	same = text_eq(buf_text(&s.out), buf_text(&text));
	if (!same && update && text_eq(update, "1")) {
		if (file_write(path, s.out.data, s.out.len, &err) < 0)
			fail_msg("%s", err.text);
		print_message("%s: updated\n", path);
		same = true;
	}
	if (!same)
		first_difference(path, buf_text(&text), buf_text(&s.out));
	kind->end(s.ctx);
	buf_fini(&text);
	buf_fini(&s.out);
	free(copy);
	assert_true(same);
}

static inline int is_script(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return dot && text_eq(dot, ".txt");
}

/* Each script of a folder as a test of its own; returns main()'s value.  'test' runs script_run() with *state, the path. */
static inline int scripts_main(const char *folder, CMUnitTestFunction test)
{
	struct dirent **names = NULL;
	int n = scandir(folder, &names, is_script, alphasort), failed = 0;

	if (n <= 0) {
		fprintf(stderr, "no scripts in %s (run from the top of the tree)\n", folder);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char path[512];
		struct CMUnitTest one = { names[i]->d_name, test, NULL, NULL, path };

		snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
		failed += _cmocka_run_group_tests(names[i]->d_name, &one, 1, NULL, NULL);
		free(names[i]);
	}
	free(names);
	return failed > 0;
}
