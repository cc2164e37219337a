/* SPDX-License-Identifier: Apache-2.0 */
/* cluster.h: a Service with its slices, at random or plain, for the tests of wanted_service(). */
#pragma once

#include "tests/unit/core/make.h"

#include "agent/core/wanted.h"

#define SLICES 5
#define ENDPOINTS 6
#define PORTS 3
#define ARENA ((size_t)512 * 1024)

static const char *const port_names[] = { "", "http", "https" };
static const char *const nodes[] = { "", "here", "there", "yonder" };
static const char *const zones[] = { "z1", "z2" };
static const char *const pods[] = { "", "pod-1", "pod-2" };

/* One Service with what belongs to it. */
struct cluster {
	struct service service;
	struct service_port ports[PORTS];
	struct weight weights[3];
	struct ip_net sources[2];
	struct slice slices[SLICES];
	struct endpoint endpoints[SLICES][ENDPOINTS + 1];
	struct slice_port slice_ports[SLICES][PORTS];
	const struct slice *slice_list[SLICES];
	const char *hints[4][2];
	struct wanted_weight node_weights[2];
	struct wanted_input in;
};

static inline void make_service(struct cluster *c, struct prng *p)
{
	struct service *s = &c->service;

	*s = (struct service){ .meta = { OBJECT_SERVICE, "n", "web", "", "", false }, .ports = c->ports,
			       .n_ports = below(p, PORTS + 1), .balance = (enum balance)below(p, 4), .weights = c->weights,
			       .sources = c->sources, .policy_local = chance(p, 30), .sticky_s = chance(p, 50) ? 60 : 0,
			       .min_slots = (uint16_t)(chance(p, 20) ? below(p, 300) : 0) };
	for (size_t k = 0; k < s->n_ports; k++)
		c->ports[k] = (struct service_port){ port_names[k], (uint16_t)(82 - k), chance(p, 70) ? PROTO_TCP : PROTO_UDP };
	if (chance(p, 40)) { /* sorted by name: an address, a Pod, a node */
		c->weights[0] = (struct weight){ "198.18.3.233", (uint16_t)below(p, 4) };
		c->weights[1] = (struct weight){ "pod-1", (uint16_t)below(p, 4) };
		c->weights[2] = (struct weight){ "there", (uint16_t)below(p, 4) };
		s->n_weights = 3;
	}
	if (chance(p, 30)) {
		s->restricted = true;
		s->n_sources = below(p, 3);
		c->sources[0] = (struct ip_net){ make_v4(0), 24 };
		c->sources[1] = (struct ip_net){ make_v6(0), 64 };
	}
	if (chance(p, 20))
		s->rates[s->n_rates++] = (struct rate){ .unit = RATE_BYTES, .per_s = 1, .amount = 1000, .burst = below(p, 9) };
	s->client_connections = chance(p, 20) ? 10 : 0;
}

static inline void make_endpoint(struct cluster *c, struct prng *p, struct endpoint *ep, uint8_t family)
{
	const uint32_t at = 1000 + below(p, 6);
	const uint32_t hint = below(p, 4);

	*ep = (struct endpoint){ .ip = family == IP_V4 ? make_v4(at) : make_v6(at), .node = nodes[at % 4], .zone = "z1",
				 .target = pods[at % 3], .ready = chance(p, 50), .serving = chance(p, 60),
				 .terminating = chance(p, 60), .for_nodes = &c->hints[hint][0], .for_zones = &c->hints[hint][1] };
	ep->n_for_nodes = chance(p, 60);
	ep->n_for_zones = chance(p, 80);
}

static inline void make_cluster(struct cluster *c, uint64_t seed)
{
	struct prng p = { seed };

	memset(c, 0, sizeof(*c));
	make_service(c, &p);
	for (size_t i = 0; i < 4; i++) {
		c->hints[i][0] = nodes[1 + i % 2];
		c->hints[i][1] = zones[i / 2];
	}
	for (size_t i = 0; i < SLICES; i++) {
		struct slice *s = &c->slices[i];

		*s = (struct slice){ .meta = { OBJECT_SLICE, "n", "s", "", "", false }, .service = "web",
				     .family = chance(&p, 70) ? IP_V4 : IP_V6, .endpoints = c->endpoints[i],
				     .n_endpoints = below(&p, ENDPOINTS + 1), .ports = c->slice_ports[i],
				     .n_ports = below(&p, PORTS + 1) };
		for (size_t k = 0; k < s->n_ports; k++)
			c->slice_ports[i][k] = (struct slice_port){ port_names[k],
								    (uint16_t)(chance(&p, 90) ? 8080 + below(&p, 2) : 0),
								    chance(&p, 70) ? PROTO_TCP : PROTO_UDP };
		for (size_t k = 0; k < s->n_endpoints; k++)
			make_endpoint(c, &p, &c->endpoints[i][k], s->family);
		c->slice_list[i] = s;
	}
	c->node_weights[0] = (struct wanted_weight){ "here", 2 };
	c->node_weights[1] = (struct wanted_weight){ "yonder", 3 };
	c->in = (struct wanted_input){ .service = &c->service, .slices = c->slice_list, .n_slices = SLICES,
				       .node = chance(&p, 80) ? "here" : chance(&p, 50) ? "" : NULL,
				       .zone = chance(&p, 80) ? "z1" : chance(&p, 50) ? "" : NULL, .weights = c->node_weights,
				       .n_weights = below(&p, 3), .snat_to_vip = chance(&p, 70), .routed = chance(&p, 20),
				       .counters = chance(&p, 50), .homes = { { below(&p, 3), below(&p, 2) * 5 }, { below(&p, 3) } } };
	if (chance(&p, 80))
		c->in.ips[c->in.n_ips++] = make_v6(below(&p, 4));
	if (chance(&p, 80))
		c->in.ips[c->in.n_ips++] = make_v4(below(&p, 4));
}

/* A Service of one port and n backends in one slice. */
static inline void make_plain(struct cluster *c, struct endpoint *endpoints, uint32_t n)
{
	memset(c, 0, sizeof(*c));
	c->ports[0] = (struct service_port){ "", 80, PROTO_TCP };
	c->slice_ports[0][0] = (struct slice_port){ "", 8080, PROTO_TCP };
	c->service = (struct service){ .meta = { OBJECT_SERVICE, "n", "web", "", "", false }, .ports = c->ports, .n_ports = 1,
				       .weights = c->weights, .sources = c->sources };
	c->slices[0] = (struct slice){ .meta = { OBJECT_SLICE, "n", "s", "", "", false }, .service = "web", .family = IP_V4,
				       .endpoints = endpoints, .n_endpoints = n, .ports = c->slice_ports[0], .n_ports = 1 };
	c->slice_list[0] = &c->slices[0];
	for (uint32_t i = 0; i < n; i++)
		endpoints[i] = (struct endpoint){ .ip = make_v4(100 + i), .node = "there", .zone = "", .target = "",
						  .ready = true, .serving = true };
	c->in = (struct wanted_input){ .service = &c->service, .ips = { make_v4(1) }, .n_ips = 1, .slices = c->slice_list,
				       .n_slices = 1, .node = "here" };
}

static inline struct nat_service build(const struct cluster *c, struct arena *a)
{
	struct nat_service s;

	assert_int_equal(wanted_service(&c->in, a, &s), 0);
	return s;
}
