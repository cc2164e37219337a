/* SPDX-License-Identifier: Apache-2.0 */
/* attr_walk.h: reading netlink messages and their attributes from bytes that are not trusted.  The one place that
 * walks attributes: libmnl's own loop macro converts long to int, which gcc's -Wconversion refuses, and it
 * trusts more than we do.  Pure; nothing is copied, results point into the caller's bytes.  (Not named attr.h:
 * libnl's own headers include one of that name.) */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"

/* The message at 'data', when its header and the length the header states lie within 'len' bytes; else NULL. */
const struct nlmsghdr *attr_message(const void *data, size_t len);

/* The fixed header of 'size' bytes behind the netlink header, or NULL when the message is too short. */
const void *attr_header(const struct nlmsghdr *nlh, size_t size);

/* Attributes still to be looked at. */
struct attr_walk {
	const unsigned char *at;
	size_t left; /* bytes from 'at' */
};

/* All attributes behind a fixed header of 'size' bytes; empty when the message is too short for it. */
struct attr_walk attr_walk_message(const struct nlmsghdr *nlh, size_t size);
/* The attributes nested in 'a'; empty when 'a' is NULL. */
struct attr_walk attr_walk_nested(const struct nlattr *a);

/* The next attribute, or NULL at the end or at bytes that are none; then 'left' is 0 after a clean end. */
const struct nlattr *attr_next(struct attr_walk *w);

/* Puts each attribute of type 1..max into tb[type] (others are skipped, the last of a type wins); tb has max + 1
 * members.  -EBADMSG: an attribute reaches beyond the bytes. */
MUST_USE int attr_table(struct attr_walk w, const struct nlattr **tb, uint16_t max);

uint16_t attr_type(const struct nlattr *a);
const void *attr_data(const struct nlattr *a);
size_t attr_len(const struct nlattr *a); /* of the data */

/* The value when 'a' is there (not NULL) and has exactly this size; else false and *ret untouched. */
bool attr_u8(const struct nlattr *a, uint8_t *ret);
bool attr_u32(const struct nlattr *a, uint32_t *ret);	 /* host byte order (rtnetlink) */
bool attr_u32_be(const struct nlattr *a, uint32_t *ret); /* network byte order (nf_tables) */
bool attr_u64_be(const struct nlattr *a, uint64_t *ret);

/* A NUL-terminated text, or NULL when 'a' is NULL or not terminated. */
const char *attr_text(const struct nlattr *a);
