/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_annotation.c: the grammars of annotations.  The first byte chooses one.  Beyond not crashing: a refusal names a column
 * of the text; what was read keeps its bounds, is what the kernel can count, and comes back when it is written down. */
#include <errno.h>
#include <stdio.h>

#include "agent/base/buf.h"
#include "agent/kube/annotation.h"
#include "tests/fuzz/fuzz.h"

static void check_refused(const char *text, int r, const struct err_info *err)
{
	unsigned int column = 0;

	assert(r == -EINVAL);
	assert(sscanf(err->text, "column %u: ", &column) == 1);
	assert(column >= 1 && column <= strlen(text) + 1);
}

static void read_addresses(const char *text)
{
	struct ip ips[OBJECT_ADDRESSES_MAX], again[OBJECT_ADDRESSES_MAX];
	char written[2 * IP_TEXT_MAX + 2], one[IP_TEXT_MAX], two[IP_TEXT_MAX] = "";
	struct err_info err = ERR_INFO_INIT;
	size_t n, n_again;
	int r = annotation_addresses(text, ips, &n, &err);

	if (r < 0) {
		check_refused(text, r, &err);
		return;
	}
	assert(n >= 1 && n <= OBJECT_ADDRESSES_MAX && !ip_is_unusable(&ips[0]));
	if (n == 2) {
		assert(!ip_is_unusable(&ips[1]) && ips[0].family != ips[1].family);
		ip_format(&ips[1], two);
	}
	snprintf(written, sizeof(written), "%s%s%s", ip_format(&ips[0], one), n == 2 ? "," : "", two);
	r = annotation_addresses(written, again, &n_again, &err);
	assert(r == 0 && n_again == n && memcmp(ips, again, n * sizeof(ips[0])) == 0);
}

static void read_balance(const char *text)
{
	enum balance balance = (enum balance)99;
	struct err_info err = ERR_INFO_INIT;
	int r = annotation_balance(text, &balance, &err);

	if (r < 0)
		check_refused(text, r, &err);
	assert(r == 0 ? balance <= BALANCE_ROUND_ROBIN : (int)balance == 99);
}

static void read_number(const char *text)
{
	struct err_info err = ERR_INFO_INIT;
	uint32_t n = 0;
	int r = annotation_number(text, 1000000, &n, &err);

	if (r < 0)
		check_refused(text, r, &err);
	assert(r == 0 ? n >= 1 && n <= 1000000 : n == 0);
}

static void read_weights(const char *text)
{
	static struct annotation_weights w, again;
	struct err_info err = ERR_INFO_INIT;
	struct buf written = BUF_INIT(1024 * 1024);
	int r = annotation_weights(text, &w, &err);

	if (r < 0) {
		check_refused(text, r, &err);
		return;
	}
	assert(w.n >= 1 && w.n <= OBJECT_WEIGHTS_MAX);
	for (size_t i = 0; i < w.n; i++) {
		assert(w.v[i].weight <= WEIGHT_MAX && *w.v[i].name);
		assert(i == 0 || strcmp(w.v[i - 1].name, w.v[i].name) < 0);
		buf_printf(&written, "%s%s = %u", i ? " , " : "", w.v[i].name, w.v[i].weight);
	}
	r = annotation_weights(buf_text(&written), &again, &err);
	assert(r == 0 && again.n == w.n);
	for (size_t i = 0; i < w.n; i++)
		assert(strcmp(w.v[i].name, again.v[i].name) == 0 && w.v[i].weight == again.v[i].weight);
	buf_fini(&written);
}

/* As nft_limit_init() and nft_limit_eval() reckon, without their limits. */
static void check_rate(const struct rate *rate)
{
	unsigned __int128 ns = (unsigned __int128)rate->per_s * 1000000000, tokens;

	assert(rate->amount >= 1 && rate->burst >= 1);
	assert(rate->per_s == 1 || rate->per_s == 60 || rate->per_s == 3600 || rate->per_s == 86400);
	if (rate->unit == RATE_PACKETS) {
		assert(ns / rate->amount >= 100); /* exact to 1 % */
		tokens = ns / rate->amount * rate->burst;
	} else {
		assert(ns * ((unsigned __int128)rate->amount + rate->burst) <= UINT64_MAX);
		tokens = ns * (rate->amount + rate->burst) / rate->amount;
		assert(tokens >= ns * 65536 / rate->amount); /* the largest packet can pass */
	}
	assert(tokens > 0 && tokens <= (unsigned __int128)1 << 62);
}

static void read_rates(const char *text)
{
	static const char *const units[] = { "packets", "bytes" };
	struct rate rates[RATES_MAX], again[RATES_MAX];
	struct err_info err = ERR_INFO_INIT;
	struct buf written = BUF_INIT(1024);
	size_t n, n_again;
	int r = annotation_rates(text, rates, &n, &err);

	if (r < 0) {
		check_refused(text, r, &err);
		return;
	}
	assert(n >= 1 && n <= RATES_MAX && (n == 1 || rates[0].unit < rates[1].unit));
	for (size_t i = 0; i < n; i++) {
		const struct rate *rate = &rates[i];

		check_rate(rate);
		buf_printf(&written, "%s%llu %s/%s burst %u %s", i ? "," : "", (unsigned long long)rate->amount, units[rate->unit],
			   rate->per_s == 1 ? "second" : rate->per_s == 60 ? "minute" : rate->per_s == 3600 ? "hour" : "day",
			   rate->burst, units[rate->unit]);
	}
	r = annotation_rates(buf_text(&written), again, &n_again, &err);
	assert(r == 0 && n_again == n && memcmp(rates, again, n * sizeof(rates[0])) == 0);
	buf_fini(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const char *text) = { read_rates, read_weights, read_addresses, read_balance, read_number };
	char *text;

	if (size == 0)
		return 0;
	text = fuzz_string(data + 1, size - 1);
	readers[data[0] % (sizeof(readers) / sizeof(readers[0]))](text);
	free(text);
	return 0;
}
