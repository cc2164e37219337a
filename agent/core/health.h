/* SPDX-License-Identifier: Apache-2.0 */
/* health.h: which of a few servers get new connections, by checks of each.  Pure.
 *
 *	server	  becomes	when
 *	new	  up		its first check is good: what a list says is not enough
 *	up	  down		2 checks in a row fail, or 1 is refused
 *	down	  up		2 checks in a row are good
 *	any	  hung		2 checks in a row get no answer of any kind
 *	hung	  not hung	anything answers, be it a refusal
 *
 * While none is up all of them get connections: a guess is better than nothing, and it may be the checks that are wrong.
 *
 * Hung or not decides what becomes of connections to a server that is down.  Where the node answers, it resets those of a
 * process that died by itself, and a server that is shutting down has a right to end its own; where nothing answers
 * they would hang until the client's patience ends, and are cut. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/mono.h"
#include "agent/base/verdict.h"

#define HEALTH_SERVERS_MAX 16
#define HEALTH_OFTEN_MS 1000   /* from check to check, while this node holds, or something is about to change */
#define HEALTH_SELDOM_MS 5000  /* else */
#define HEALTH_TIMEOUT_MS 1000 /* of a check */
#define HEALTH_WHY_MAX 128

struct health_server {
	struct ip_port at;
	bool up;
	bool known;	  /* was checked */
	bool hung;
	bool cut;	  /* since it hung, its connections have been given to health_take_hung() */
	bool asking;	  /* a check is under way */
	uint8_t against;  /* checks in a row that spoke against 'up' */
	uint8_t silences; /* in a row */
	mono_t since;	  /* up or down since then */
	mono_t asked;	  /* the last check began then; ns 0 = never */
	char why[HEALTH_WHY_MAX]; /* what the last bad check said; "" = the last one was good, or there was none */
};

struct health {
	struct health_server v[HEALTH_SERVERS_MAX]; /* sorted by 'at' */
	size_t n;
};

/* These are the servers now: sorted by ip_port_cmp(), distinct, n <= HEALTH_SERVERS_MAX.  What is known of those that stay
 * is kept.  True: the list has changed. */
bool health_list(struct health *h, const struct ip_port *list, size_t n, mono_t now);

/* NULL: not in the list. */
struct health_server *health_find(struct health *h, const struct ip_port *at);

/* When to check it next; MONO_NEVER while a check is under way.  often: this node holds the VIP. */
mono_t health_due(const struct health_server *s, bool often);

/* A check began. */
void health_asked(struct health_server *s, mono_t now);

/* Nothing can be said: it could not be sent. */
void health_not_asked(struct health_server *s);

/* What it said; why: for people.  True: the server is up now, or down now, and was not before. */
bool health_take(struct health_server *s, enum verdict v, const char *why, mono_t now);

/* None is up: all get connections. */
bool health_guesses(const struct health *h);

/* It gets new connections. */
bool health_serves(const struct health *h, const struct health_server *s);

/* A server that hangs and gets no new connections: what it has is to be cut, now.  Tells each only once.  False: none. */
bool health_take_hung(struct health *h, struct ip_port *ret);
