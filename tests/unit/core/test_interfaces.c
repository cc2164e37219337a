/* SPDX-License-Identifier: Apache-2.0 */
/* test_interfaces.c: rules by node and label: how they read, and which holds. */
#include "agent/core/interfaces.h"

#include "tests/unit/core/make.h"

#define LONG63 "012345678901234567890123456789012345678901234567890123456789012"

/* A rule as it was understood: "node=N label=K=V,K names=a,b". */
static void describe(const struct interface_rule *r, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "%s|", r->node ? r->node : "");

	for (size_t i = 0; i < r->n_labels && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s%s%s%s", i ? "," : "", r->labels[i].key, r->labels[i].value ? "=" : "",
				      r->labels[i].value ? r->labels[i].value : "");
	n += (size_t)snprintf(buf + n, size - n, "|");
	for (size_t i = 0; i < r->n_names && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s%s", i ? "," : "", r->names[i]);
}

static void test_read(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "node/worker-1: eth1 eth2", "worker-1||eth1,eth2" },
		{ "node/worker-1:eth1,eth2", "worker-1||eth1,eth2" },
		{ "  node/edge-*.example.com  :\teth?, bond0.100 ,", "edge-*.example.com||eth?,bond0.100" },
		{ "label/rack=a: bond0.100", "|rack=a|bond0.100" },
		{ "label/topology.kubernetes.io/zone=east&label/rack=a*: eth1", "|topology.kubernetes.io/zone=east,rack=a*|eth1" },
		{ "label/uplink & node/w? : auto", "w?|uplink|" },
		{ "label/rack=: eth0", "|rack=|eth0" },
		{ "label/rack=" LONG63 ": eth0", "|rack=" LONG63 "|eth0" },
		{ "node/a: eth0:1", "a||eth0:1" },
		{ "node/a: automatic auto0", "a||automatic,auto0" },
		{ "node/a: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", "a||1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16" },
		{ "label/1&label/2&label/3&label/4&label/5&label/6&label/7&label/8:x", "|1,2,3,4,5,6,7,8|x" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = strdup(rows[i].text), got[512];
		struct interface_rule r;
		const char *wrong;

		assert_non_null(text);
		wrong = interfaces_parse(text, &r);
		if (wrong)
			fail_msg("\"%s\" %s", rows[i].text, wrong);
		describe(&r, got, sizeof(got));
		assert_string_equal(got, rows[i].want);
		assert_ptr_equal(r.text, text);
		free(text);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "", "CONDITIONS: INTERFACES" },
		{ "eth0", "CONDITIONS: INTERFACES" },
		{ "node/a eth0", "CONDITIONS: INTERFACES" },
		{ ": eth0", "neither node/NAME nor label/" },
		{ "worker-1: eth0", "neither node/NAME nor label/" },
		{ "node/a &: eth0", "neither node/NAME nor label/" },
		{ "node/: eth0", "names no node" },
		{ "node/Worker: eth0", "names no node" },
		{ "node/a b: eth0", "names no node" },
		{ "node/a & node/b: eth0", "two names of nodes" },
		{ "label/: eth0", "names no label" },
		{ "label/=a: eth0", "names no label" },
		{ "label/ra ck=a: eth0", "names no label" },
		{ "label/rack=a/b: eth0", "no label can have" },
		{ "label/rack=a=b: eth0", "no label can have" },
		{ "label/rack=" LONG63 "4: eth0", "no label can have" },
		{ "label/1&label/2&label/3&label/4&label/5&label/6&label/7&label/8&label/9:x", "more than 8 labels" },
		{ "node/a:", "no interface behind" },
		{ "node/a: , ,", "no interface behind" },
		{ "node/a: eth0 auto", "beside auto" },
		{ "node/a: eth/0", "is no interface" },
		{ "node/a: sixteen-letters0", "is no interface" },
		{ "node/a: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "more than 16" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = strdup(rows[i].text);
		struct interface_rule r;
		const char *wrong;

		assert_non_null(text);
		wrong = interfaces_parse(text, &r);
		if (!wrong || !strstr(wrong, rows[i].why))
			fail_msg("\"%s\": %s", rows[i].text, wrong ? wrong : "taken");
		free(text);
	}
}

static void test_too_long(void **state)
{
	char node[600] = "node/", label[600] = "label/";
	struct interface_rule r;

	(void)state;
	memset(node + 5, 'a', 254);
	memcpy(node + 5 + 254, ": x", 4);
	assert_non_null(interfaces_parse(node, &r));
	memset(label + 6, 'a', 318);
	memcpy(label + 6 + 318, ": x", 4);
	assert_non_null(interfaces_parse(label, &r));
}

static const char *const texts[] = {
	"node/worker-1: one", "node/edge-* & label/rack=b: two", "label/rack=a & label/disk: three", "label/rack=a*: four", "node/w*: five",
};

struct all {
	char *copies[ARRAY_LEN(texts)];
	struct interface_rule rules[ARRAY_LEN(texts)];
	struct labels labels;
};

static void read_all(struct all *a)
{
	*a = (struct all){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		a->copies[i] = strdup(texts[i]);
		assert_non_null(a->copies[i]);
		assert_null(interfaces_parse(a->copies[i], &a->rules[i]));
		assert_true(interfaces_ask(&a->rules[i], &a->labels));
	}
}

static void test_choice(void **state)
{
	static const struct {
		const char *node;
		const char *rack, *disk; /* NULL = not there */
		const char *known;	 /* the choice; NULL = none */
		const char *before;	 /* and while the labels are not known; "?" = undecided */
	} rows[] = {
		{ "worker-1", NULL, NULL, "one", "one" },
		{ "worker-1", "a", "ssd", "one", "one" },
		{ "edge-7", "b", NULL, "two", "?" },
		{ "edge-7", "a", NULL, "four", "?" },
		{ "edge", "b", NULL, NULL, "?" },
		{ "other", "a", "", "three", "?" },
		{ "other", "a", NULL, "four", "?" },
		{ "other", "a1", "x", "four", "?" },
		{ "other", "", NULL, NULL, "?" },
		{ "worker-2", "c", NULL, "five", "?" },
		{ "worker-2", NULL, NULL, "five", "?" },
		{ "other", NULL, NULL, NULL, "?" },
	};
	struct all a;

	(void)state;
	read_all(&a);
	assert_int_equal(a.labels.n, 2); /* asked for once, whoever asks */
	assert_string_equal(a.labels.v[0].key, "rack");
	assert_string_equal(a.labels.v[1].key, "disk");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *const values[] = { rows[i].rack, rows[i].disk };
		const struct interface_rule *r;
		bool undecided;

		for (size_t k = 0; k < 2; k++) {
			a.labels.v[k].there = values[k] != NULL;
			assert_true(text_copy(a.labels.v[k].value, LABEL_VALUE_MAX, values[k] ? values[k] : ""));
		}
		r = interfaces_choose(a.rules, ARRAY_LEN(texts), rows[i].node, &a.labels, &undecided);
		assert_false(undecided);
		if ((r != NULL) != (rows[i].known != NULL) || (r && !text_eq(r->names[0], rows[i].known)))
			fail_msg("row %zu: %s", i, r ? r->names[0] : "none");
		r = interfaces_choose(a.rules, ARRAY_LEN(texts), rows[i].node, NULL, &undecided);
		assert_int_equal(undecided, text_eq(rows[i].before, "?"));
		assert_string_equal(r ? r->names[0] : "?", rows[i].before);
	}
	assert_null(interfaces_choose(NULL, 0, "worker-1", NULL, &(bool){ true }));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		free(a.copies[i]);
}

static void test_many_labels(void **state)
{
	struct labels labels = { .n = 0 };
	char keys[LABELS_MAX + 1][8];

	(void)state;
	for (size_t i = 0; i <= LABELS_MAX; i++) {
		struct interface_rule r = { .labels = { { .key = keys[i] } }, .n_labels = 1 };

		assert_true(snprintf(keys[i], sizeof(keys[i]), "k%zu", i) > 0);
		assert_int_equal(interfaces_ask(&r, &labels), i < LABELS_MAX);
		assert_int_equal(interfaces_ask(&r, &labels), i < LABELS_MAX);
	}
	assert_int_equal(labels.n, LABELS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),   cmocka_unit_test(test_refused),	    cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_choice), cmocka_unit_test(test_many_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
