/* SPDX-License-Identifier: Apache-2.0 */
/* annotation.c: one scanner, and a short recursive descent for each annotation. */
#include "agent/kube/annotation.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"

#define SHOWN_MAX 32 /* bytes of a refused word that are shown */
#define NUMBER_TEXT_MAX 20

#define KBYTE UINT64_C(1024)
#define NS_PER_S UINT64_C(1000000000)
/* The kernel's unit is the nanosecond: a packet costs the whole part of NS_PER_S / rate.  Up to here that is exact to 1 %. */
#define PACKETS_PER_S_MAX UINT64_C(10000000)
/* nft_limit_eval() adds the time since the last packet to the tokens and takes the difference to the cost as signed. */
#define TOKENS_MAX (UINT64_C(1) << 62)
#define PACKET_BYTES_MAX (64 * KBYTE) /* GRO makes one packet of what came in by several, up to 64 KiB */

/* ---- the scanner ---- */

enum token_kind {
	TOKEN_END,
	TOKEN_SIGN, /* one of / , = */
	TOKEN_WORD, /* everything else up to a blank or a sign */
};

/* The text and the token that is next. */
struct scan {
	const char *text;
	const char *p;
	size_t len;
	enum token_kind kind;
};

static const char blanks[] = " \t\r\n", ends[] = " \t\r\n/,=";

static void scan_next(struct scan *s)
{
	s->p += s->len;
	s->p += strspn(s->p, blanks);
	s->len = strcspn(s->p, ends);
	s->kind = TOKEN_WORD;
	if (s->len == 0) {
		s->kind = *s->p ? TOKEN_SIGN : TOKEN_END;
		s->len = *s->p ? 1 : 0;
	}
}

static struct scan scan_begin(const char *text)
{
	struct scan s = { .text = text, .p = text };

	scan_next(&s);
	return s;
}

static bool scan_is(const struct scan *s, const char *token)
{
	return s->kind != TOKEN_END && s->len == strlen(token) && memcmp(s->p, token, s->len) == 0;
}

/* What has been taken before 'p' is ASCII, or it would have been refused: bytes are characters. */
static size_t column(const struct scan *s, const char *p)
{
	return (size_t)(p - s->text) + 1;
}

/* Bytes of the token that are shown: whole characters. */
static int shown(const struct scan *s)
{
	size_t n = s->len;

	if (n > SHOWN_MAX) {
		n = SHOWN_MAX;
		while (n > 0 && ((unsigned char)s->p[n] & 0xc0) == 0x80)
			n--;
	}
	return (int)n;
}

/* The token that is next is not what should stand there. */
static int expected(const struct scan *s, struct err_info *err, const char *what)
{
	if (s->kind == TOKEN_END)
		return err_set(err, -EINVAL, "column %zu: %s is missing", column(s, s->p), what);
	return err_set(err, -EINVAL, "column %zu: \"%.*s%s\" is not %s", column(s, s->p), shown(s), s->p,
		       s->len > SHOWN_MAX ? "..." : "", what);
}

/* Something is wrong with what stands at 'place'. */
static int wrong(const struct scan *place, struct err_info *err, const char *fmt, ...) PRINTF_LIKE(3, 4);

static int wrong(const struct scan *place, struct err_info *err, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	IGNORE(vsnprintf(text, sizeof(text), fmt, ap)); /* cut as err.text would be */
	va_end(ap);
	return err_set(err, -EINVAL, "column %zu: %s", column(place, place->p), text);
}

static int scan_end(const struct scan *s, struct err_info *err)
{
	return s->kind == TOKEN_END ? 0 : expected(s, err, "the end of the value");
}

/* Takes a comma (*ret_more) or the end. */
static int scan_comma(struct scan *s, bool *ret_more, struct err_info *err)
{
	*ret_more = s->kind != TOKEN_END;
	if (s->kind == TOKEN_END)
		return 0;
	if (!scan_is(s, ","))
		return expected(s, err, "a comma or the end of the value");
	scan_next(s);
	return 0;
}

/* Takes a word as a text of its own; false: none, or one that does not fit. */
static bool scan_word(struct scan *s, char *buf, size_t size)
{
	if (s->kind != TOKEN_WORD || s->len >= size)
		return false;
	memcpy(buf, s->p, s->len);
	buf[s->len] = '\0';
	scan_next(s);
	return true;
}

/* Takes a whole number min..max; 'what' says so. */
static int scan_number(struct scan *s, uint64_t min, uint64_t max, uint64_t *ret, const char *what, struct err_info *err)
{
	char text[NUMBER_TEXT_MAX + 1];
	struct scan place = *s;
	uint64_t value;

	if (!scan_word(s, text, sizeof(text)) || text_to_u64(text, max, &value) < 0 || value < min)
		return expected(&place, err, what);
	*ret = value;
	return 0;
}

/* ---- small values ---- */

int annotation_addresses(const char *text, struct ip ret[static OBJECT_ADDRESSES_MAX], size_t *ret_n, struct err_info *err)
{
	struct ip found[OBJECT_ADDRESSES_MAX];
	struct scan s = scan_begin(text);
	char word[IP_TEXT_MAX];
	bool more = true;
	size_t n = 0;
	int r;

	while (more) {
		struct scan place = s;
		struct ip ip;

		if (!scan_word(&s, word, sizeof(word)) || ip_parse(word, &ip) < 0)
			return expected(&place, err, "an IP address");
		if (ip_is_unusable(&ip))
			return wrong(&place, err, "%s cannot be a VIP", word);
		for (size_t i = 0; i < n; i++)
			if (found[i].family == ip.family)
				return wrong(&place, err, "%s is a second address of its family", word);
		found[n++] = ip;
		if ((r = scan_comma(&s, &more, err)) < 0)
			return r;
	}
	memcpy(ret, found, n * sizeof(found[0]));
	*ret_n = n;
	return 0;
}

int annotation_balance(const char *text, enum balance *ret, struct err_info *err)
{
	static const struct {
		const char *name;
		enum balance balance;
	} rows[] = {
		{ "hash", BALANCE_HASH },
		{ "random", BALANCE_RANDOM },
		{ "source", BALANCE_SOURCE },
		{ "round-robin", BALANCE_ROUND_ROBIN },
	};
	struct scan s = scan_begin(text);
	int r;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!scan_is(&s, rows[i].name))
			continue;
		scan_next(&s);
		if ((r = scan_end(&s, err)) == 0)
			*ret = rows[i].balance;
		return r;
	}
	return expected(&s, err, "a way to balance (hash, random, source, round-robin)");
}

int annotation_number(const char *text, uint32_t max, uint32_t *ret, struct err_info *err)
{
	struct scan s = scan_begin(text);
	uint64_t value;
	char what[64];
	int r;

	IGNORE(snprintf(what, sizeof(what), "a whole number from 1 to %u", max)); /* fits */
	if ((r = scan_number(&s, 1, max, &value, what, err)) < 0 || (r = scan_end(&s, err)) < 0)
		return r;
	*ret = (uint32_t)value;
	return 0;
}

/* ---- weights ---- */

/* An RFC 1123 subdomain, roughly: what cannot be a name at all is refused, what names nothing is harmless. */
static bool is_name(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.");

	return text[n] == '\0' && *text != '-' && *text != '.';
}

/* Takes NAME = WEIGHT into its place in *w. */
static int weight_entry(struct scan *s, struct annotation_weights *w, struct err_info *err)
{
	struct scan place = *s;
	char *name = w->names[w->n];
	uint64_t weight;
	struct ip ip;
	size_t i = 0;
	int r;

	if (!scan_word(s, name, sizeof(w->names[0])))
		return expected(&place, err, "an address or the name of a Pod or node");
	if (ip_parse(name, &ip) == 0)
		ip_format(&ip, name);
	else if (!is_name(name))
		return expected(&place, err, "an address or the name of a Pod or node");
	if (!scan_is(s, "="))
		return expected(s, err, "\"=\" and a weight");
	scan_next(s);
	if ((r = scan_number(s, 0, WEIGHT_MAX, &weight, "a weight from 0 to 100", err)) < 0)
		return r;
	while (i < w->n && strcmp(w->v[i].name, name) < 0)
		i++;
	if (i < w->n && text_eq(w->v[i].name, name))
		return wrong(&place, err, "%.64s has a weight already", name);
	memmove(&w->v[i + 1], &w->v[i], (w->n - i) * sizeof(w->v[0]));
	w->v[i] = (struct weight){ name, (uint16_t)weight };
	w->n++;
	return 0;
}

int annotation_weights(const char *text, struct annotation_weights *ret, struct err_info *err)
{
	struct scan s = scan_begin(text);
	bool more = true;
	int r;

	ret->n = 0;
	while (more) {
		if (ret->n == OBJECT_WEIGHTS_MAX)
			return wrong(&s, err, "more than %d entries", OBJECT_WEIGHTS_MAX);
		if ((r = weight_entry(&s, ret, err)) < 0 || (r = scan_comma(&s, &more, err)) < 0)
			return r;
	}
	return 0;
}

/* ---- rates ---- */

struct unit {
	const char *name;
	enum rate_unit unit;
	uint64_t factor;
};

static const struct unit units[] = {
	{ "packets", RATE_PACKETS, 1 },
	{ "bytes", RATE_BYTES, 1 },
	{ "kbytes", RATE_BYTES, KBYTE },
	{ "mbytes", RATE_BYTES, KBYTE * KBYTE },
	{ "gbytes", RATE_BYTES, KBYTE * KBYTE * KBYTE },
};

static const struct {
	const char *name;
	uint32_t seconds;
} times[] = { { "second", 1 }, { "minute", 60 }, { "hour", 3600 }, { "day", 86400 } };

/* Takes NUMBER UNIT; of == NULL: any unit, else one that measures the same. */
static int rate_amount(struct scan *s, const enum rate_unit *of, uint64_t *ret, enum rate_unit *ret_unit, struct err_info *err)
{
	struct scan place = *s;
	uint64_t number;
	int r = scan_number(s, 1, UINT64_MAX, &number, "a whole number above 0", err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (!scan_is(s, units[i].name) || (of && units[i].unit != *of))
			continue;
		if (__builtin_mul_overflow(number, units[i].factor, ret))
			return expected(&place, err, "a number that can be counted");
		*ret_unit = units[i].unit;
		scan_next(s);
		return 0;
	}
	if (!of)
		return expected(s, err, "a unit (packets, bytes, kbytes, mbytes, gbytes)");
	return expected(s, err, *of == RATE_PACKETS ? "the unit \"packets\"" : "a unit of bytes (bytes, kbytes, mbytes, gbytes)");
}

/* Takes / TIME. */
static int rate_time(struct scan *s, uint32_t *ret_s, struct err_info *err)
{
	if (!scan_is(s, "/"))
		return expected(s, err, "\"/\" and a unit of time");
	scan_next(s);
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		if (!scan_is(s, times[i].name))
			continue;
		scan_next(s);
		*ret_s = times[i].seconds;
		return 0;
	}
	return expected(s, err, "a unit of time (second, minute, hour, day)");
}

/* Whether the kernel can count it: nft_limit_init() refuses what overflows, older ones count nonsense then. */
static int packets_fit(const struct scan *amount_at, const struct scan *burst_at, const struct rate *rate,
		       struct err_info *err)
{
	uint64_t ns = rate->per_s * NS_PER_S, burst_max;

	if (rate->amount > PACKETS_PER_S_MAX * rate->per_s)
		return wrong(amount_at, err, "more than %llu packets a second cannot be measured",
			     (unsigned long long)PACKETS_PER_S_MAX);
	burst_max = TOKENS_MAX / (ns / rate->amount);
	if (rate->burst > burst_max)
		return wrong(burst_at, err, "more than the kernel can count at this rate (%llu packets)",
			     (unsigned long long)burst_max);
	return 0;
}

static int bytes_fit(const struct scan *amount_at, const struct scan *burst_at, const struct rate *rate, struct err_info *err)
{
	uint64_t ns = rate->per_s * NS_PER_S, all, product;

	if (__builtin_add_overflow(rate->amount, rate->burst, &all) || __builtin_mul_overflow(ns, all, &product))
		return wrong(amount_at, err, "with the burst more than the kernel can count in this time (%llu bytes): give a shorter one",
			     (unsigned long long)(UINT64_MAX / ns));
	if (product / rate->amount > TOKENS_MAX)
		return wrong(burst_at, err, "amount and burst are too far apart for the kernel to count");
	if (all < PACKET_BYTES_MAX)
		return wrong(burst_at, err, "amount and burst have to make %llu bytes, or a large packet could never pass",
			     (unsigned long long)PACKET_BYTES_MAX);
	return 0;
}

static int rate_entry(struct scan *s, struct rate *ret, struct err_info *err)
{
	struct scan amount_at = *s, burst_at = *s;
	enum rate_unit unit;
	struct rate rate;
	uint64_t burst;
	int r;

	memset(&rate, 0, sizeof(rate));
	if ((r = rate_amount(s, NULL, &rate.amount, &unit, err)) < 0 || (r = rate_time(s, &rate.per_s, err)) < 0)
		return r;
	rate.unit = (uint8_t)unit;
	if (scan_is(s, "burst")) {
		scan_next(s);
		burst_at = *s;
		if ((r = rate_amount(s, &unit, &burst, &unit, err)) < 0)
			return r;
		if (burst > UINT32_MAX)
			return wrong(&burst_at, err, "more than the kernel can count (%u)", UINT32_MAX);
	} else {
		burst = unit == RATE_BYTES ? PACKET_BYTES_MAX : rate.amount < UINT32_MAX ? rate.amount : UINT32_MAX;
	}
	rate.burst = (uint32_t)burst;
	r = unit == RATE_BYTES ? bytes_fit(&amount_at, &burst_at, &rate, err) : packets_fit(&amount_at, &burst_at, &rate, err);
	if (r == 0)
		*ret = rate;
	return r;
}

int annotation_rates(const char *text, struct rate ret[static RATES_MAX], size_t *ret_n, struct err_info *err)
{
	struct rate found[RATES_MAX];
	struct scan s = scan_begin(text);
	bool more = true;
	size_t n = 0;
	int r;

	while (more) {
		struct scan place = s;
		struct rate rate;

		if ((r = rate_entry(&s, &rate, err)) < 0)
			return r;
		if (n > 0 && found[0].unit == rate.unit)
			return wrong(&place, err, "a second limit of %s", rate.unit == RATE_BYTES ? "bytes" : "packets");
		found[n++] = rate;
		if (s.kind != TOKEN_END && !scan_is(&s, ","))
			return expected(&s, err, "\"burst\", a comma or the end of the value");
		if ((r = scan_comma(&s, &more, err)) < 0)
			return r;
		if (more && n == RATES_MAX)
			return wrong(&s, err, "more than one limit of packets and one of bytes");
	}
	if (n == RATES_MAX && found[0].unit > found[1].unit) {
		struct rate first = found[0];

		found[0] = found[1];
		found[1] = first;
	}
	memcpy(ret, found, n * sizeof(found[0]));
	*ret_n = n;
	return 0;
}
