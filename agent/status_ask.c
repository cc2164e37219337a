/* SPDX-License-Identifier: Apache-2.0 */
/* status_ask.c: both ends of the status socket use it. */
#include "agent/status_ask.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"

#define BLANKS " \t\r"

static const char *const part_names[STATUS_PART_N] = {
	[STATUS_ALL] = "", [STATUS_LEASES] = "leases", [STATUS_VIPS] = "vips", [STATUS_SERVICES] = "services",
};

const char *status_part_name(enum status_part part)
{
	return part_names[part];
}

bool status_ask_is_plain(const struct status_ask *ask)
{
	return ask->part == STATUS_ALL && !*ask->name;
}

int status_ask_write(const struct status_ask *ask, char line[static STATUS_LINE_MAX])
{
	char width[16] = "";
	int n;

	if (!ask->json)
		IGNORE(snprintf(width, sizeof(width), " width=%u", ask->width)); /* fits */
	n = snprintf(line, STATUS_LINE_MAX, "%s%s%s%s%s%s%s", ask->json ? "json" : "text", ask->colour ? " colour" : "", width,
		     ask->part != STATUS_ALL ? " " : "", status_part_name(ask->part), *ask->name ? " name=" : "", ask->name);
	return n < 0 || n >= STATUS_LINE_MAX ? -EMSGSIZE : 0;
}

static int take_word(struct status_ask *ask, const char *word)
{
	uint64_t n;

	for (unsigned int i = STATUS_LEASES; i < STATUS_PART_N; i++)
		if (text_eq(word, part_names[i]))
			ask->part = (enum status_part)i;
	if (text_eq(word, "colour"))
		ask->colour = true;
	if (text_starts(word, "name=") && !text_copy(ask->name, sizeof(ask->name), word + strlen("name=")))
		return -EINVAL;
	if (!text_starts(word, "width="))
		return 0;
	if (text_to_u64(word + strlen("width="), STATUS_WIDTH_MAX, &n) < 0 || n < STATUS_WIDTH_MIN)
		return -EINVAL;
	ask->width = (unsigned int)n;
	return 0;
}

int status_ask_read(const char *line, struct status_ask *ret)
{
	struct status_ask ask = { .width = STATUS_WIDTH };
	char copy[STATUS_LINE_MAX], *word = copy;
	bool first = true;

	if (!text_copy(copy, sizeof(copy), line))
		return -EINVAL;
	for (char *next; *(word += strspn(word, BLANKS)); word = next, first = false) {
		next = word + strcspn(word, BLANKS);
		next += *next != '\0';
		word[strcspn(word, BLANKS)] = '\0';
		if (first && !text_eq(word, "json") && !text_eq(word, "text"))
			return -EINVAL;
		if (first)
			ask.json = *word == 'j';
		else if (take_word(&ask, word) < 0)
			return -EINVAL;
	}
	if (first)
		return -EINVAL;
	*ret = ask;
	return 0;
}
