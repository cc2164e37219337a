/* SPDX-License-Identifier: Apache-2.0 */
/* test_nat_step.c: a change becomes exactly the elements that differ, in an order in which nothing refers to what is not
 * there, and carried out on a model of the maps it leaves what is wanted, whatever was before. */
#include "netlink/nat_step.h"

#include "tests/unit/netlink/bytes.h"

#define OPS_MAX 64

static struct nat_op ops[OPS_MAX];
static char chains[OPS_MAX][NAT_NAME_MAX];

/* The ops of step i. */
static size_t ops_of(const struct nat_plan *plan, size_t step)
{
	const struct nat_steps steps = nat_steps_of(plan, false);
	struct nat_step s;
	size_t n = 0;

	nat_step_begin(&s, &steps, step);
	while (n < OPS_MAX && nat_step_next(&s, &ops[n])) {
		if (ops[n].elem.chain) {
			snprintf(chains[n], NAT_NAME_MAX, "%s", ops[n].elem.chain);
			ops[n].elem.chain = chains[n];
		}
		n++;
	}
	assert_true(n < OPS_MAX);
	return n;
}

static struct ip_port backends[8];
static const uint16_t slots_a[] = { 0, 1, 0, 1, 0 }, slots_b[] = { 0, 1, 1, 1, 0, 1, 0 };

static int setup(void **state)
{
	(void)state;
	for (uint8_t i = 0; i < ARRAY_LEN(backends); i++)
		backends[i] = (struct ip_port){ { IP_V4, { 198, 51, 100, i } }, 8080 };
	return 0;
}

static struct frontend frontend(uint16_t n_slots, const uint16_t *slots, uint64_t digest)
{
	return (struct frontend){ .vip = { IP_V4, { 192, 0, 2, 1 } }, .proto = 6, .port = 80, .balance = BALANCE_ROUND_ROBIN,
				  .n_backends = 2, .n_slots = n_slots, .backends = backends, .slots = slots,
				  .digest = digest };
}

/* As text: what each op is, one a word. */
static const char *text_of(const struct nat_change *c)
{
	static const char *const verbs[] = { "+", "!", "-", "?" };
	const struct nat_plan plan = { .changes = c, .n_changes = 1 };
	static char text[1024];
	size_t n, at = 0;

	n = ops_of(&plan, 0);
	text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		const struct nat_elem *e = &ops[i].elem;

		if (ops[i].kind == NAT_OP_BALANCE)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "chain ");
		else if (nat_set_has_slots(e->set))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u ", verbs[ops[i].verb], e->slot);
		else
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s%s%s ", verbs[ops[i].verb], e->set->name,
					       e->chain ? ":" : "", e->chain ? e->chain : "");
	}
	return text;
}

static void test_first_and_last(void **state)
{
	struct frontend f = frontend(2, slots_a, 7);
	struct nat_change c = { .now = &f };

	(void)state;
	assert_string_equal(text_of(&c), "chain +0 +1 !dispatch4:turn-2-192.0.2.1-tcp-80 ");
	assert_true(ops[3].elem.digest == 7);
	assert_int_equal(ip_port_cmp(&ops[2].elem.backend, &backends[1]), 0);
	c.now_firewall = "default/web";
	assert_string_equal(text_of(&c), "chain +0 +1 !dispatch4:turn-2-192.0.2.1-tcp-80 !firewalls4:firewall-default/web ");
	c = (struct nat_change){ .old = &f, .old_firewall = "default/web" };
	assert_string_equal(text_of(&c), "-dispatch4 -firewalls4 -0 -1 ");
}

static void test_only_what_differs(void **state)
{
	struct frontend a = frontend(5, slots_a, 1), b = frontend(7, slots_b, 2);
	struct nat_change c = { .old = &a, .now = &b };

	(void)state;
	assert_string_equal(text_of(&c), "chain -2 +2 +5 +6 -dispatch4 !dispatch4:turn-7-192.0.2.1-tcp-80 ");
	c = (struct nat_change){ .old = &b, .now = &a };
	assert_string_equal(text_of(&c), "chain -2 +2 -dispatch4 !dispatch4:turn-5-192.0.2.1-tcp-80 -5 -6 ");
	/* The same chain, another digest: the element is replaced, because its comment is. */
	b = frontend(5, slots_b, 2);
	c = (struct nat_change){ .old = &a, .now = &b };
	assert_string_equal(text_of(&c), "chain -2 +2 -dispatch4 !dispatch4:turn-5-192.0.2.1-tcp-80 ");
	/* Nothing differs but the firewall. */
	c = (struct nat_change){ .old = &a, .now = &a, .old_firewall = "default/web", .now_firewall = "default/db" };
	assert_string_equal(text_of(&c), "chain -firewalls4 !firewalls4:firewall-default/db ");
	c = (struct nat_change){ .old = &a, .now = &a, .old_firewall = "default/web", .now_firewall = "default/web" };
	assert_string_equal(text_of(&c), "chain ");
}

static void test_read_from_the_kernel(void **state)
{
	struct frontend old = frontend(3, NULL, 1), now = frontend(2, slots_a, 1);
	struct nat_change c = { .old = &old, .now = &now };

	(void)state;
	assert_string_equal(text_of(&c), "chain -0 -1 +0 +1 -dispatch4 !dispatch4:turn-2-192.0.2.1-tcp-80 -2 ");
	old.n_slots = 0; /* leads elsewhere, or nowhere */
	assert_string_equal(text_of(&c), "chain +0 +1 -dispatch4 !dispatch4:turn-2-192.0.2.1-tcp-80 ");
	/* Slots alone are bad: the element that counts connections stays. */
	old.n_slots = 2;
	assert_string_equal(text_of(&c), "chain -0 -1 +0 +1 ");
	c = (struct nat_change){ .old = &old };
	assert_string_equal(text_of(&c), "-dispatch4 -0 -1 ");
}

static void test_other_balance(void **state)
{
	struct frontend a = frontend(2, slots_a, 1), b = frontend(2, slots_a, 2);
	const struct nat_change c = { .old = &a, .now = &b };
	const struct nat_plan plan = { .changes = &c, .n_changes = 1 };

	(void)state;
	b.balance = BALANCE_HASH;
	assert_string_equal(text_of(&c), "-0 -1 +0 +1 -dispatch4 !dispatch4:hash-2 ");
	assert_int_equal(ops_of(&plan, 0), 6);
	assert_string_equal(ops[0].elem.set->name, "turns4");
	assert_string_equal(ops[2].elem.set->name, "slots4");
}

/* Two random frontends of one key: the ops make the one of the other. */
static void test_model(void **state)
{
	uint16_t old_slots[16], now_slots[16];

	(void)state;
	srandom(4711);
	for (unsigned int round = 0; round < 2000; round++) {
		struct frontend old = frontend((uint16_t)(1 + random() % 16), old_slots, (uint64_t)random());
		struct frontend now = frontend((uint16_t)(1 + random() % 16), now_slots, (uint64_t)random());
		struct nat_change c = { .old = random() % 4 ? &old : NULL, .now = random() % 4 ? &now : NULL };
		const struct nat_plan plan = { .changes = &c, .n_changes = 1 };
		const struct ip_port *model[16] = { NULL };
		struct ip_port added[OPS_MAX];
		size_t n;

		old.n_backends = now.n_backends = ARRAY_LEN(backends);
		for (size_t i = 0; i < 16; i++) {
			old_slots[i] = (uint16_t)((unsigned long)random() % ARRAY_LEN(backends));
			now_slots[i] = (uint16_t)((unsigned long)random() % ARRAY_LEN(backends));
			if (random() % 2)
				now_slots[i] = old_slots[i];
		}
		if (!c.old && !c.now)
			continue;
		for (size_t i = 0; c.old && i < old.n_slots; i++)
			model[i] = &backends[old_slots[i]];
		n = ops_of(&plan, 0);
		for (size_t i = 0; i < n; i++) {
			const struct nat_elem *e = &ops[i].elem;

			if (ops[i].kind != NAT_OP_ELEMENT || !nat_set_has_slots(e->set))
				continue;
			assert_true((model[e->slot] != NULL) == (ops[i].verb == NAT_ELEM_DEL)); /* as the kernel insists */
			added[i] = e->backend;
			model[e->slot] = ops[i].verb == NAT_ELEM_DEL ? NULL : &added[i];
		}
		for (size_t i = 0; i < 16; i++) {
			if (c.now && i < now.n_slots)
				assert_true(model[i] && ip_port_cmp(model[i], &backends[now_slots[i]]) == 0);
			else
				assert_null(model[i]);
		}
	}
}

/* Members and firewalls are steps of one op, in the plan's order. */
static void test_steps(void **state)
{
	const struct nat_member add[] = { { .kind = NAT_VIP, .ip = { IP_V4, { 192, 0, 2, 1 } } },
					  { .kind = NAT_GUARD, .ip = { IP_V6, { 0x20, 1 } }, .proto = 17, .port = 53 } };
	const struct nat_firewall fw = { .name = "default/web" }, *fws[] = { &fw };
	struct frontend f = frontend(1, slots_a, 1);
	const struct nat_change change = { .now = &f };
	const struct nat_plan plan = { .add = add, .n_add = 2, .firewalls = fws, .n_firewalls = 1, .changes = &change,
				       .n_changes = 1, .del = add, .n_del = 1 };
	const struct nat_steps steps = nat_steps_of(&plan, false);

	(void)state;
	assert_int_equal(steps.n, 5);
	assert_int_equal(ops_of(&plan, 0), 1);
	assert_string_equal(ops[0].elem.set->name, "vips4");
	assert_int_equal(ops[0].verb, NAT_ELEM_ADD);
	assert_int_equal(ops_of(&plan, 1), 1);
	assert_string_equal(ops[0].elem.set->name, "guards6");
	assert_int_equal(ops[0].elem.port, 53);
	assert_int_equal(ops_of(&plan, 2), 1);
	assert_int_equal(ops[0].kind, NAT_OP_FIREWALL);
	assert_ptr_equal(ops[0].firewall, &fw);
	assert_int_equal(ops_of(&plan, 3), 3);
	assert_int_equal(ops_of(&plan, 4), 1);
	assert_string_equal(ops[0].elem.set->name, "vips4");
	assert_int_equal(ops[0].verb, NAT_ELEM_DEL);
	for (size_t i = 0; i < 5; i++)
		assert_ptr_equal(nat_step_change(&steps, i), i == 3 ? &change : NULL);
}

/* What is counted: a guard stands for elements of three sets, a received one for two.  Those of one set stay together. */
static void test_counted_steps(void **state)
{
	const struct ip v4 = { IP_V4, { 198, 51, 100, 1 } }, v6 = { IP_V6, { 0x20, 1 } };
	const struct nat_member members[] = {
		{ .kind = NAT_VIP, .ip = v4 },	       { .kind = NAT_GUARD, .ip = v4, .proto = 6, .port = 1 },
		{ .kind = NAT_GUARD, .ip = v6, .proto = 17, .port = 2 },
		{ .kind = NAT_KEEP, .ip = v4 },	       { .kind = NAT_RECEIVED, .ip = v4, .proto = 6, .port = 80 },
		{ .kind = NAT_BACKEND, .ip = v4, .proto = 6, .port = 9 },
	};
	static const char *const sets[] = { "vips4", "guards4", "guards6", "keeps4", "received4", "backends4",
					    "backends4", "backends6", "opened4", "opened6", "sent4" };
	static const char *const del_sets[] = { "guards4", "backends4", "opened4" };
	static const uint16_t ports[] = { 0, 1, 2, 0, 80, 9, 1, 2, 1, 2, 80 };
	const struct nat_change change = { 0 };
	const struct nat_plan plan = { .add = members, .n_add = ARRAY_LEN(members), .changes = &change, .n_changes = 1,
				       .del = members + 1, .n_del = 1 };
	const struct nat_steps steps = nat_steps_of(&plan, true), plain = nat_steps_of(&plan, false),
			       none = nat_steps_of(&(struct nat_plan){ .n_add = 0 }, true);
	struct nat_step s;
	struct nat_op op;

	(void)state;
	assert_int_equal(none.n, 0);
	assert_int_equal(plain.n, ARRAY_LEN(members) + 2);
	assert_int_equal(steps.n, ARRAY_LEN(sets) + 1 + 3);
	for (size_t i = 0; i < steps.n; i++) {
		const size_t of_del = i - ARRAY_LEN(sets) - 1; /* wraps for those before */
		const bool del = i > ARRAY_LEN(sets);

		assert_ptr_equal(nat_step_change(&steps, i), i == ARRAY_LEN(sets) ? &change : NULL);
		if (i == ARRAY_LEN(sets))
			continue;
		nat_step_begin(&s, &steps, i);
		assert_true(nat_step_next(&s, &op));
		assert_string_equal(op.elem.set->name, del ? del_sets[of_del] : sets[i]);
		assert_int_equal(op.elem.port, del ? 1 : ports[i]);
		assert_int_equal(op.verb, del ? NAT_ELEM_DEL : NAT_ELEM_ADD);
		assert_false(nat_step_next(&s, &op));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_and_last), cmocka_unit_test(test_only_what_differs),
		cmocka_unit_test(test_read_from_the_kernel), cmocka_unit_test(test_other_balance),
		cmocka_unit_test(test_model), cmocka_unit_test(test_steps),
		cmocka_unit_test(test_counted_steps),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
