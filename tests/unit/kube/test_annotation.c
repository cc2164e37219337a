/* SPDX-License-Identifier: Apache-2.0 */
/* test_annotation.c: each grammar as a table: what is read, and what is refused with which words at which column.  Limits
 * are tried from both sides. */
#include "agent/kube/annotation.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/buf.h"

/* What came of a text, written down: "" = refused, with the reason in err. */
struct row {
	const char *text;
	const char *want; /* NULL: refused */
	const char *error;
};

static void check_rows(const struct row *rows, size_t n, void (*read)(const char *text, char *out, size_t size, struct err_info *err))
{
	for (size_t i = 0; i < n; i++) {
		struct err_info err = ERR_INFO_INIT;
		char out[256] = "";

		read(rows[i].text, out, sizeof(out), &err);
		if (strcmp(out, rows[i].want ? rows[i].want : "") != 0 || strcmp(err.text, rows[i].error ? rows[i].error : "") != 0)
			fail_msg("row %zu, \"%s\": \"%s\" %s", i, rows[i].text, out, err.text);
	}
}

/* ---- addresses ---- */

static void read_addresses(const char *text, char *out, size_t size, struct err_info *err)
{
	struct ip ips[OBJECT_ADDRESSES_MAX];
	char one[IP_TEXT_MAX];
	size_t n = 99, at = 0;
	int r = annotation_addresses(text, ips, &n, err);

	assert_true(r == 0 ? n <= OBJECT_ADDRESSES_MAX : r == -EINVAL && n == 99);
	for (size_t i = 0; r == 0 && i < n; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%s", i ? " " : "", ip_format(&ips[i], one));
}

static void test_addresses(void **state)
{
	static const struct row rows[] = {
		{ "203.0.113.1", "203.0.113.1", NULL },
		{ "2001:DB8::1,203.0.113.1", "2001:db8::1 203.0.113.1", NULL },
		{ "\t203.0.113.1 ,\n 2001:db8::1 ", "203.0.113.1 2001:db8::1", NULL },
		{ "", NULL, "column 1: an IP address is missing" },
		{ "203.0.113.1,", NULL, "column 13: an IP address is missing" },
		{ ",203.0.113.1", NULL, "column 1: \",\" is not an IP address" },
		{ "203.0.113.01", NULL, "column 1: \"203.0.113.01\" is not an IP address" },
		{ "203.0.113.1/32", NULL, "column 12: \"/\" is not a comma or the end of the value" },
		{ "203.0.113.1 2001:db8::1", NULL, "column 13: \"2001:db8::1\" is not a comma or the end of the value" },
		{ "203.0.113.1,203.0.113.2", NULL, "column 13: 203.0.113.2 is a second address of its family" },
		{ "203.0.113.1,2001:db8::1,2001:db8::2", NULL, "column 25: 2001:db8::2 is a second address of its family" },
		{ "2001:db8::1, fe80::1", NULL, "column 14: fe80::1 cannot be a VIP" },
		{ "::ffff:203.0.113.1", NULL, "column 1: ::ffff:203.0.113.1 cannot be a VIP" },
		/* 31 bytes and one character of two: cut before it. */
		{ "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa9", NULL,
		  "column 1: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\" is not an IP address" },
		{ "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa9", NULL,
		  "column 1: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xc3\xa9\" is not an IP address" },
	};

	(void)state;
	check_rows(rows, ARRAY_LEN(rows), read_addresses);
}

/* ---- balance ---- */

static void read_balance(const char *text, char *out, size_t size, struct err_info *err)
{
	enum balance balance = (enum balance)99;

	if (annotation_balance(text, &balance, err) == 0)
		assert_true(snprintf(out, size, "%d", balance) > 0);
	else
		assert_int_equal(balance, 99);
}

static void test_balance(void **state)
{
	static const char *const want = "a way to balance (hash, random, source, round-robin)";
	static const struct row rows[] = {
		{ "hash", "0", NULL },
		{ "random", "1", NULL },
		{ "source", "2", NULL },
		{ " round-robin ", "3", NULL },
		{ "hash,", NULL, "column 5: \",\" is not the end of the value" },
		{ "hash hash", NULL, "column 6: \"hash\" is not the end of the value" },
	};
	static const char *const bad[] = { "Hash", "hashes", "has", "round robin", "=", "rr" };

	(void)state;
	assert_int_equal(BALANCE_HASH, 0);
	assert_int_equal(BALANCE_RANDOM, 1);
	assert_int_equal(BALANCE_SOURCE, 2);
	assert_int_equal(BALANCE_ROUND_ROBIN, 3);
	check_rows(rows, ARRAY_LEN(rows), read_balance);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err_info err = ERR_INFO_INIT;
		enum balance balance;
		char text[256];

		snprintf(text, sizeof(text), "column 1: \"%.*s\" is not %s", (int)strcspn(bad[i], " "), bad[i], want);
		assert_int_equal(annotation_balance(bad[i], &balance, &err), -EINVAL);
		assert_string_equal(err.text, text);
	}
}

/* ---- numbers ---- */

static void read_number(const char *text, char *out, size_t size, struct err_info *err)
{
	uint32_t n = 77;

	if (annotation_number(text, 5003, &n, err) == 0)
		assert_true(snprintf(out, size, "%u", n) > 0);
	else
		assert_int_equal(n, 77);
}

static void test_numbers(void **state)
{
	static const struct row rows[] = {
		{ "1", "1", NULL },
		{ " 5003\n", "5003", NULL },
		{ "0251", "251", NULL },
		{ "0", NULL, "column 1: \"0\" is not a whole number from 1 to 5003" },
		{ "5004", NULL, "column 1: \"5004\" is not a whole number from 1 to 5003" },
		{ "-1", NULL, "column 1: \"-1\" is not a whole number from 1 to 5003" },
		{ "1.5", NULL, "column 1: \"1.5\" is not a whole number from 1 to 5003" },
		{ "1k", NULL, "column 1: \"1k\" is not a whole number from 1 to 5003" },
		{ "18446744073709551617", NULL, "column 1: \"18446744073709551617\" is not a whole number from 1 to 5003" },
		{ "000000000000000000001", NULL, "column 1: \"000000000000000000001\" is not a whole number from 1 to 5003" },
		{ " ", NULL, "column 2: a whole number from 1 to 5003 is missing" },
		{ "251 slots", NULL, "column 5: \"slots\" is not the end of the value" },
		{ "1,2", NULL, "column 2: \",\" is not the end of the value" },
	};

	(void)state;
	check_rows(rows, ARRAY_LEN(rows), read_number);
}

/* ---- weights ---- */

static void read_weights(const char *text, char *out, size_t size, struct err_info *err)
{
	struct annotation_weights *w = malloc(sizeof(*w));
	size_t at = 0;
	int r;

	assert_non_null(w);
	r = annotation_weights(text, w, err);
	assert_true(r == 0 || r == -EINVAL);
	for (size_t i = 0; r == 0 && i < w->n; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%s=%u", i ? " " : "", w->v[i].name, w->v[i].weight);
	free(w);
}

static void test_weights(void **state)
{
	static const struct row rows[] = {
		{ "node1=3, 198.51.100.7=2, pod-x=0", "198.51.100.7=2 node1=3 pod-x=0", NULL },
		{ "b=1,a=100", "a=100 b=1", NULL },
		{ " node1.example = 3 ", "node1.example=3", NULL },
		{ "2001:DB8:0::7=2", "2001:db8::7=2", NULL },
		{ "7=2", "7=2", NULL },
		{ "", NULL, "column 1: an address or the name of a Pod or node is missing" },
		{ "node1", NULL, "column 6: \"=\" and a weight is missing" },
		{ "node1 3", NULL, "column 7: \"3\" is not \"=\" and a weight" },
		{ "node1=", NULL, "column 7: a weight from 0 to 100 is missing" },
		{ "node1=3,", NULL, "column 9: an address or the name of a Pod or node is missing" },
		{ "node1=101", NULL, "column 7: \"101\" is not a weight from 0 to 100" },
		{ "node1=-1", NULL, "column 7: \"-1\" is not a weight from 0 to 100" },
		{ "node1=2 node2=3", NULL, "column 9: \"node2\" is not a comma or the end of the value" },
		{ "node1=2,node2=3,node1=2", NULL, "column 17: node1 has a weight already" },
		{ "2001:db8::1=1,2001:db8:0::1=1", NULL, "column 15: 2001:db8::1 has a weight already" },
		{ "Node1=2", NULL, "column 1: \"Node1\" is not an address or the name of a Pod or node" },
		{ "a=1,-x=2", NULL, "column 5: \"-x\" is not an address or the name of a Pod or node" },
		{ "a:b=2", NULL, "column 1: \"a:b\" is not an address or the name of a Pod or node" },
		{ "ns/pod=2", NULL, "column 3: \"/\" is not \"=\" and a weight" },
		{ "n\xc3\xa9=1, \xc3\xa9=2", NULL, "column 1: \"n\xc3\xa9\" is not an address or the name of a Pod or node" },
		{ "a=\xc3\xa9\xc3\xa9", NULL, "column 3: \"\xc3\xa9\xc3\xa9\" is not a weight from 0 to 100" },
		{ "a=1 \xc3\xa9\xc3\xa9,b", NULL, "column 5: \"\xc3\xa9\xc3\xa9\" is not a comma or the end of the value" },
	};

	(void)state;
	check_rows(rows, ARRAY_LEN(rows), read_weights);
}

static void test_weights_bounds(void **state)
{
	struct annotation_weights *w = malloc(sizeof(*w));
	struct buf text = BUF_INIT(64 * 1024);
	struct err_info err = ERR_INFO_INIT;
	char name[255];

	(void)state;
	assert_non_null(w);
	for (unsigned int i = 0; i < OBJECT_WEIGHTS_MAX; i++)
		buf_printf(&text, "%sn%03u=%u", i ? "," : "", OBJECT_WEIGHTS_MAX - i, i % 100);
	assert_int_equal(annotation_weights(buf_text(&text), w, &err), 0);
	assert_int_equal(w->n, OBJECT_WEIGHTS_MAX);
	for (size_t i = 1; i < w->n; i++)
		assert_true(strcmp(w->v[i - 1].name, w->v[i].name) < 0);
	buf_puts(&text, ",one-more=1");
	assert_int_equal(annotation_weights(buf_text(&text), w, &err), -EINVAL);
	assert_non_null(strstr(err.text, "more than 256 entries"));
	memset(name, 'n', sizeof(name));
	for (int n = 253; n <= 254; n++) {
		buf_reset(&text);
		buf_printf(&text, "%.*s=1", n, name);
		assert_int_equal(annotation_weights(buf_text(&text), w, &err), n == 253 ? 0 : -EINVAL);
	}
	assert_string_equal(err.text, "column 1: \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...\" is not an address or the name of a Pod or node");
	buf_fini(&text);
	free(w);
}

/* ---- rates ---- */

static void read_rates(const char *text, char *out, size_t size, struct err_info *err)
{
	struct rate rates[RATES_MAX];
	size_t n = 99, at = 0;
	int r = annotation_rates(text, rates, &n, err);

	assert_true(r == 0 ? n <= RATES_MAX : r == -EINVAL && n == 99);
	for (size_t i = 0; r == 0 && i < n; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%llu %s/%u+%u", i ? " " : "", (unsigned long long)rates[i].amount,
				       rates[i].unit == RATE_BYTES ? "B" : "P", rates[i].per_s, rates[i].burst);
}

static void test_rates(void **state)
{
	static const struct row rows[] = {
		{ "2 mbytes/second burst 512 kbytes", "2097152 B/1+524288", NULL },
		{ "500 packets/second burst 100 packets", "500 P/1+100", NULL },
		{ "2 mbytes/second, 500 packets/minute", "500 P/60+500 2097152 B/1+65536", NULL },
		{ "1 packets / hour , 1 gbytes / second", "1 P/3600+1 1073741824 B/1+65536", NULL },
		{ "2 bytes/day burst 64 kbytes", "2 B/86400+65536", NULL },
		{ "1 bytes/day", NULL, "column 1: amount and burst are too far apart for the kernel to count" },
		{ "6000000000 packets/day", "6000000000 P/86400+4294967295", NULL },
		{ "", NULL, "column 1: a whole number above 0 is missing" },
		{ "fast", NULL, "column 1: \"fast\" is not a whole number above 0" },
		{ "2mbytes/second", NULL, "column 1: \"2mbytes\" is not a whole number above 0" },
		{ "0 packets/second", NULL, "column 1: \"0\" is not a whole number above 0" },
		{ "1.5 mbytes/second", NULL, "column 1: \"1.5\" is not a whole number above 0" },
		{ "2", NULL, "column 2: a unit (packets, bytes, kbytes, mbytes, gbytes) is missing" },
		{ "2 mbit/second", NULL, "column 3: \"mbit\" is not a unit (packets, bytes, kbytes, mbytes, gbytes)" },
		{ "2 mbytes", NULL, "column 9: \"/\" and a unit of time is missing" },
		{ "2 mbytes second", NULL, "column 10: \"second\" is not \"/\" and a unit of time" },
		{ "2 mbytes/", NULL, "column 10: a unit of time (second, minute, hour, day) is missing" },
		{ "10 mbytes /fortnight", NULL,
		  "column 12: \"fortnight\" is not a unit of time (second, minute, hour, day)" },
		{ "2 mbytes/second burts 1 mbytes", NULL, "column 17: \"burts\" is not \"burst\", a comma or the end of the value" },
		{ "2 mbytes/second burst", NULL, "column 22: a whole number above 0 is missing" },
		{ "2 mbytes/second burst 5 packets", NULL,
		  "column 25: \"packets\" is not a unit of bytes (bytes, kbytes, mbytes, gbytes)" },
		{ "2 packets/second burst 5 bytes", NULL, "column 26: \"bytes\" is not the unit \"packets\"" },
		{ "2 mbytes/second,", NULL, "column 17: a whole number above 0 is missing" },
		{ "2 mbytes/second, 3 kbytes/second burst 1 mbytes", NULL, "column 18: a second limit of bytes" },
		{ "2 packets/day, 3 packets/second", NULL, "column 16: a second limit of packets" },
		{ "2 packets/day, 3 mbytes/second, 1 packets/day", NULL,
		  "column 33: more than one limit of packets and one of bytes" },
		{ "20000000000 gbytes/second", NULL, "column 1: \"20000000000\" is not a number that can be counted" },
		{ "99999999999999999999 bytes/second", NULL, "column 1: \"99999999999999999999\" is not a whole number above 0" },
		{ "1 mbytes/second burst 4294967296 bytes", NULL, "column 23: more than the kernel can count (4294967295)" },
	};

	(void)state;
	check_rows(rows, ARRAY_LEN(rows), read_rates);
}

/* What the kernel could not count, from both sides. */
static void test_rates_limits(void **state)
{
	static const struct row rows[] = {
		{ "10000000 packets/second", "10000000 P/1+10000000", NULL },
		{ "10000001 packets/second", NULL, "column 1: more than 10000000 packets a second cannot be measured" },
		{ "600000000 packets/minute", "600000000 P/60+600000000", NULL },
		{ "600000001 packets/minute", NULL, "column 1: more than 10000000 packets a second cannot be measured" },
		{ "1 packets/day burst 53375 packets", "1 P/86400+53375", NULL },
		{ "1 packets/day burst 53376 packets", NULL,
		  "column 21: more than the kernel can count at this rate (53375 packets)" },
		{ "18446678537 bytes/second", "18446678537 B/1+65536", NULL },
		{ "18446678538 bytes/second", NULL,
		  "column 1: with the burst more than the kernel can count in this time (18446744073 bytes): give a shorter one" },
		{ "147967 bytes/day", "147967 B/86400+65536", NULL },
		{ "10 gbytes/day", NULL,
		  "column 1: with the burst more than the kernel can count in this time (213503 bytes): give a shorter one" },
		{ "1 bytes/minute burst 76861432 bytes", "1 B/60+76861432", NULL },
		{ "1 bytes/minute burst 76861433 bytes", NULL, "column 22: amount and burst are too far apart for the kernel to count" },
		{ "100 bytes/second burst 65436 bytes", "100 B/1+65436", NULL },
		{ "100 bytes/second burst 65435 bytes", NULL,
		  "column 24: amount and burst have to make 65536 bytes, or a large packet could never pass" },
	};

	(void)state;
	check_rows(rows, ARRAY_LEN(rows), read_rates);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_balance),	cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_weights),	  cmocka_unit_test(test_weights_bounds), cmocka_unit_test(test_rates),
		cmocka_unit_test(test_rates_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
