/* SPDX-License-Identifier: Apache-2.0 */
/* test_log.c: each event is one line, which a JSON parser reads back whatever was in its texts (YAML's reader serves as
 * one: YAML 1.1 reads JSON); the text form never holds control characters; levels filter; limits count. */
#include "agent/base/log.h"

#include <fcntl.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/base/text.h"
#include "agent/base/yaml.h"
#include "tests/unit/base/check.h"

/* Standard error goes into a file meanwhile. */
struct capture {
	const char *path;
	int saved;
	struct buf out;
};

static struct capture capture_begin(const char *folder)
{
	struct capture c = { in_folder(folder, "stderr"), dup(STDERR_FILENO), BUF_INIT(1 << 20) };
	int fd = open(c.path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

	assert_true(c.saved >= 0 && fd >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
	return c;
}

/* Returns what was written. */
static const char *capture_end(struct capture *c)
{
	struct err_info err = ERR_INFO_INIT;

	assert_int_equal(dup2(c->saved, STDERR_FILENO), STDERR_FILENO);
	close(c->saved);
	if (file_read(c->path, &c->out, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(unlink(c->path), 0);
	return buf_text(&c->out);
}

static void check_one_line(const char *text)
{
	const char *end = strchr(text, '\n');

	assert_non_null(end);
	assert_string_equal(end, "\n");
}

/* "2026-03-01T10:00:00.123Z" */
static void check_time(const char *text)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";

	for (size_t i = 0; form[i]; i++) {
		if (form[i] == 'd')
			assert_in_range(text[i], '0', '9');
		else
			assert_int_equal(text[i], form[i]);
	}
}

static void test_text(void **state)
{
	const struct ip ip = { IP_V4, { 192, 0, 2, 7 } };
	struct capture c = capture_begin(*state);
	const char *line;

	log_setup(LOG_INFO, LOG_FORMAT_TEXT);
	log_event(LOG_INFO, "holder_changed", "took over the Lease", log_str("from", "node2"), log_str("to", ""),
		  log_str("why", "lease expired"), log_int("ms", -5), log_ip("vip", &ip), log_str("null", NULL));
	line = capture_end(&c);
	check_one_line(line);
	check_time(line);
	assert_string_equal(line + 24, " INFO  holder_changed: took over the Lease from=node2 to=\"\" why=\"lease expired\" ms=-5 "
				       "vip=192.0.2.7 null=\"\"\n");
	buf_fini(&c.out);
}

static void test_json(void **state)
{
	const struct ip ip = { IP_V6, { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } };
	struct capture c = capture_begin(*state);
	struct ynode *n = NULL;
	const char *line;

	log_setup(LOG_DEBUG, LOG_FORMAT_JSON);
	log_event(LOG_WARN, "some_event", "it \"said\" \\ so", log_str("a", "x\ny\x1b[31m\xff"), log_int("n", INT64_MIN),
		  log_ip("ip", &ip), log_str("empty", NULL));
	line = capture_end(&c);
	check_one_line(line);
	assert_int_equal(ynode_parse(line, strlen(line), &n, NULL), 0);
	check_time(ynode_text(n, "ts"));
	assert_string_equal(ynode_text(n, "level"), "warn");
	assert_string_equal(ynode_text(n, "event"), "some_event");
	assert_string_equal(ynode_text(n, "msg"), "it \"said\" \\ so");
	assert_string_equal(ynode_text(n, "a"), "x\ny\x1b[31m\xef\xbf\xbd");
	assert_string_equal(ynode_text(n, "n"), "-9223372036854775808");
	assert_string_equal(ynode_text(n, "ip"), "2001:db8::1");
	assert_string_equal(ynode_text(n, "empty"), "");
	assert_int_equal(n->n_children, 8);
	ynode_free(n);
	buf_fini(&c.out);
}

/* Texts from outside: every byte there is, in message and field, in both formats. */
static void test_any_bytes(void **state)
{
	char all[256];

	for (size_t i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	for (enum log_format f = LOG_FORMAT_TEXT; f <= LOG_FORMAT_JSON; f++) {
		struct capture c = capture_begin(*state);
		const char *line;

		log_setup(LOG_INFO, f);
		log_write(LOG_ERROR, "e", all, (const struct log_field[]){ log_str("k", all), { .key = NULL } });
		line = capture_end(&c);
		check_one_line(line);
		for (const char *p = line; p[1]; p++)
			assert_false((unsigned char)*p < 0x20);
		if (f == LOG_FORMAT_JSON) {
			struct ynode *n = NULL;

			/* DEL is JSON but not YAML */
			for (char *p = c.out.data; *p; p++)
				*p = *p == 0x7f ? ' ' : *p;
			assert_int_equal(ynode_parse(line, strlen(line), &n, NULL), 0);
			assert_int_equal(strlen(ynode_text(n, "k")), 127 + 128 * 3); /* each byte above 0x7f is U+FFFD */
			ynode_free(n);
		}
		buf_fini(&c.out);
	}
}

/* A long text is cut, the line is not lost. */
static void test_long(void **state)
{
	static char huge[200000];

	memset(huge, '\x01', sizeof(huge) - 1); /* six bytes each in JSON */
	for (enum log_format f = LOG_FORMAT_TEXT; f <= LOG_FORMAT_JSON; f++) {
		struct capture c = capture_begin(*state);
		const char *line;

		log_setup(LOG_INFO, f);
		log_event(LOG_INFO, "e", huge, log_str("a", huge), log_str("b", huge), log_str("c", huge), log_str("d", huge),
			  log_str("e", huge), log_str("f", huge), log_str("g", huge), log_str("last", "seen"));
		line = capture_end(&c);
		check_one_line(line);
		assert_non_null(strstr(line, f == LOG_FORMAT_JSON ? "\"last\":\"seen\"}" : " last=seen"));
		assert_non_null(strstr(line, "..."));
		assert_true(strlen(line) < 65536);
		buf_fini(&c.out);
	}
}

static void test_levels(void **state)
{
	for (enum log_level at = LOG_ERROR; at <= LOG_DEBUG; at++) {
		struct capture c = capture_begin(*state);
		size_t lines = 0;

		log_setup(at, LOG_FORMAT_TEXT);
		for (enum log_level l = LOG_ERROR; l <= LOG_DEBUG; l++) {
			assert_int_equal(log_enabled(l), l <= at);
			log_event(l, "e", "m");
		}
		for (const char *p = capture_end(&c); (p = strchr(p, '\n')); p++)
			lines++;
		assert_int_equal(lines, (size_t)at + 1);
		buf_fini(&c.out);
	}
}

static void test_limit(void **state)
{
	struct log_limit l = { 0 };
	uint32_t left_out = 99;

	(void)state;
	assert_true(log_limit(&l, 1000, 5, &left_out));
	assert_int_equal(left_out, 0);
	for (int64_t i = 1; i < 5; i++)
		assert_false(log_limit(&l, 1000 + i * 1000000, 5, &left_out));
	assert_true(log_limit(&l, 1000 + 5 * 1000000, 5, &left_out));
	assert_int_equal(left_out, 4);
	assert_false(log_limit(&l, 1001 + 5 * 1000000, 5, &left_out));
	assert_true(log_limit(&l, 1000 + 60 * 1000000, 5, &left_out));
	assert_int_equal(left_out, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text), cmocka_unit_test(test_json),   cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_long), cmocka_unit_test(test_levels), cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
