/* SPDX-License-Identifier: Apache-2.0 */
/* command.c: lines to words, and words to what they stand for. */
#include "tests/netns/command.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"

static char line[64 * 1024];
static char *words[COMMAND_WORDS_MAX];
static size_t n_words;

bool command_read(void)
{
	char *save = NULL;

	if (!fgets(line, sizeof(line), stdin))
		return false;
	n_words = 0;
	for (char *w = strtok_r(line, " \n", &save); w && n_words < COMMAND_WORDS_MAX; w = strtok_r(NULL, " \n", &save))
		words[n_words++] = w;
	return true;
}

static int run(struct driver *d, struct err_info *err, const struct command *commands, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text_eq(commands[i].name, word(0)))
			return commands[i].run(d);
	return err_set(err, -ENOSYS, "no such command: %s", word(0));
}

void command_loop(struct driver *d, struct err_info *err, const struct command *commands, size_t n)
{
	while (command_read()) {
		int r;

		*err = (struct err_info)ERR_INFO_INIT;
		r = run(d, err, commands, n);
		if (r == 0)
			puts("ok");
		else
			printf("error %d %s\n", -r, err->text);
		fflush(stdout);
	}
}

size_t word_count(void)
{
	return n_words;
}

const char *word(size_t i)
{
	return i < n_words ? words[i] : "";
}

uint64_t number(size_t i, uint64_t max)
{
	return number_of(word(i), max);
}

struct ip address(size_t i)
{
	struct ip ip = { 0 };

	if (ip_parse(word(i), &ip) < 0)
		refuse("not an address", word(i));
	return ip;
}

size_t addresses(size_t i, struct ip ret[static COMMAND_WORDS_MAX])
{
	size_t n = 0;

	while (i + n < n_words) {
		ret[n] = address(i + n);
		n++;
	}
	return n;
}

_Noreturn void refuse(const char *what, const char *text)
{
	errx(2, "%s: '%s'", what, text);
}

uint64_t number_of(const char *text, uint64_t max)
{
	uint64_t v = 0;

	if (text_to_u64(text, max, &v) < 0)
		refuse("not a number, or too large", text);
	return v;
}

void *need(void *p)
{
	if (!p)
		refuse("out of memory", "");
	return p;
}
