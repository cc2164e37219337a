/* SPDX-License-Identifier: Apache-2.0 */
/* annotation.h: the values of the annotations that people write, each with its grammar.  Pure: no allocation, no JSON.
 *
 * A value is a list of words, numbers among them, and of the signs / , = with blanks between as one likes:
 *
 *	addresses	ADDRESS [ , ADDRESS ]			of different families
 *	balance		hash | random | source | round-robin
 *	weights		NAME = 0..100 { , NAME = 0..100 }	an address, a Pod or a node each
 *	rate-limit	RATE [ , RATE ]				one of bytes, one of packets
 *	  RATE		NUMBER UNIT / TIME [ burst NUMBER UNIT ]
 *	  UNIT		packets | bytes | kbytes | mbytes | gbytes	1 kbyte = 1024 bytes, as nft has it
 *	  TIME		second | minute | hour | day
 *
 * Each function: 0, or -EINVAL with "column N: what is wrong and what was expected" in err, N counting characters from 1;
 * *ret is untouched then (but see annotation_weights()). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/object.h"

#define ANNOTATION_NAME_MAX 253 /* bytes: RFC 1123 subdomains, names of Pods and nodes */

MUST_USE int annotation_addresses(const char *text, struct ip ret[static OBJECT_ADDRESSES_MAX], size_t *ret_n,
				  struct err_info *err);

MUST_USE int annotation_balance(const char *text, enum balance *ret, struct err_info *err);

/* A whole number from 1 to 'max'. */
MUST_USE int annotation_number(const char *text, uint32_t max, uint32_t *ret, struct err_info *err);

struct annotation_weights {
	struct weight v[OBJECT_WEIGHTS_MAX]; /* sorted by name, distinct; addresses in their canonical form */
	size_t n;
	char names[OBJECT_WEIGHTS_MAX][ANNOTATION_NAME_MAX + 1]; /* storage of v[].name */
};

/* On failure *ret holds nothing of use. */
MUST_USE int annotation_weights(const char *text, struct annotation_weights *ret, struct err_info *err);

/* A bucket for bytes holds 'amount' and the burst on top, one for packets the burst alone: so the kernel counts them
 * (net/netfilter/nft_limit.c).  Without a burst: 64 kbytes, which is the largest packet (GRO), or as many packets as the
 * amount; so both may take at once what one second, minute, hour or day allows.  Refused is what the kernel could not
 * count, and a bucket for bytes that is smaller than the largest packet.  Sorted by unit. */
MUST_USE int annotation_rates(const char *text, struct rate ret[static RATES_MAX], size_t *ret_n, struct err_info *err);
