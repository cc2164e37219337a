/* SPDX-License-Identifier: Apache-2.0 */
/* object.h: the Kubernetes objects Leasehold reads, cut down to the fields it uses, as plain data.
 * agent/kube decodes them from JSON, agent/core decides on them; neither includes the other.
 *
 * Ownership: an object owns all it points to and is freed whole by object_free().  Strings are never NULL
 * (absent = "").  All counts are bounded by the decoder (see the limits below, after the API's own). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"

#define OBJECT_PORTS_MAX 100	   /* Service and EndpointSlice: ports (discovery/v1 allows 100) */
#define OBJECT_ENDPOINTS_MAX 1000  /* EndpointSlice: endpoints (discovery/v1) */
#define OBJECT_ADDRESSES_MAX 2	   /* VIPs of one Service: one per family */
#define OBJECT_INGRESS_MAX 4	   /* status.loadBalancer.ingress entries looked at; one more is somebody else's */

enum object_kind {
	OBJECT_SERVICE,
	OBJECT_SLICE,
};

struct object_meta {
	enum object_kind kind;
	const char *ns;
	const char *name;
	const char *uid;
	const char *resource_version; /* opaque */
	bool deleting;		      /* metadata.deletionTimestamp is set */
};

/* Values of spec.ipFamilyPolicy. */
enum family_policy {
	FAMILY_SINGLE,
	FAMILY_PREFER_DUAL,
	FAMILY_REQUIRE_DUAL,
};

enum balance {
	BALANCE_HASH, /* jhash of source address and port: a connection keeps its slot on every node */
	BALANCE_RANDOM,
	BALANCE_SOURCE, /* jhash of the source address: so does a client */
	BALANCE_ROUND_ROBIN,
};

/* A limit on traffic: 'amount' each 'per_s' seconds, and 'burst' at once on top. */
enum rate_unit {
	RATE_PACKETS,
	RATE_BYTES,
};
#define RATES_MAX 2 /* one of each unit */

struct rate {
	uint8_t unit;	/* enum rate_unit */
	uint32_t per_s; /* 1, 60, 3600 or 86400 */
	uint64_t amount;
	uint32_t burst;
};

/* One entry of leasehold.io/weights. */
struct weight {
	const char *name; /* an endpoint's address, the name of its Pod, or of its node */
	uint16_t weight;  /* 0..WEIGHT_MAX; 0 = gets no new connections while others can */
};
#define WEIGHT_MAX 100
#define OBJECT_WEIGHTS_MAX 256
#define OBJECT_SOURCES_MAX 256 /* spec.loadBalancerSourceRanges */
#define OBJECT_HINTS_MAX 8     /* of an endpoint, each kind (discovery/v1) */

/* Settings that an annotation of ours makes; bits of service.unread. */
enum service_setting {
	SETTING_ADDRESSES = 1u << 0,
	SETTING_SHARING_KEY = 1u << 1,
	SETTING_BALANCE = 1u << 2,
	SETTING_SLOTS = 1u << 3,
	SETTING_WEIGHTS = 1u << 4,
	SETTING_RATES = 1u << 5,
	SETTING_CONNECTIONS = 1u << 6,
};

struct service_port {
	const char *name; /* "" when the Service has one unnamed port */
	uint16_t port;
	uint8_t proto; /* IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP */
};

struct service {
	struct object_meta meta;
	const char *type;		/* spec.type */
	const char *load_balancer_class; /* spec.loadBalancerClass, "" = none */
	struct service_port *ports;
	size_t n_ports;
	uint8_t families[2]; /* spec.ipFamilies as enum ip_family, primary first; IP_NONE = absent */
	enum family_policy family_policy;
	bool policy_local; /* spec.externalTrafficPolicy is Local */

	/* Requested: leasehold.io/addresses, its aliases, or spec.loadBalancerIP.  One per family at most. */
	struct ip requested[OBJECT_ADDRESSES_MAX];
	size_t n_requested;
	/* Allocated: annotation leasehold.io/allocated, our own durable record. */
	struct ip allocated[OBJECT_ADDRESSES_MAX];
	size_t n_allocated;
	const char *lease; /* annotation leasehold.io/lease, beside the allocation: see agent/core/groups.h; "" = none */
	const char *sharing_key; /* leasehold.io/sharing-key or its alias; "" = none */
	enum balance balance;	 /* leasehold.io/balance; sessionAffinity ClientIP: BALANCE_SOURCE */
	uint32_t sticky_s;	 /* sessionAffinity ClientIP: its timeout; 0 = none */
	uint16_t min_slots;	 /* leasehold.io/slots: a larger table on request, 0..NAT_SLOTS_MAX */
	struct weight *weights;	 /* leasehold.io/weights; sorted by name, distinct */
	size_t n_weights;
	struct ip_net *sources;	 /* spec.loadBalancerSourceRanges; sorted, distinct */
	size_t n_sources;
	bool restricted;	 /* there are source ranges (none may have been readable) */
	struct rate rates[RATES_MAX]; /* leasehold.io/rate-limit */
	size_t n_rates;
	uint32_t client_connections; /* leasehold.io/connection-limit; 0 = none */
	uint16_t health_check_port;  /* spec.healthCheckNodePort; 0 = none */
	/* Annotations and fields that could not be read, each with its place and reason, "; " between; "" = all well.
	 * The value concerned counts as absent, the rest of the object is good. */
	const char *problem;
	uint8_t unread; /* enum service_setting: those that an unreadable annotation would have made */

	/* status.loadBalancer.ingress: those with an address; foreign = entries without one (hostname). */
	struct ip ingress[OBJECT_INGRESS_MAX];
	size_t n_ingress;
	bool ingress_foreign;
	bool ingress_all_vip_mode;   /* each entry has ipMode VIP (or none) */
	bool ingress_all_proxy_mode; /* each has ipMode Proxy */
};

struct endpoint {
	struct ip ip;
	bool ready;	  /* nil counts as true */
	bool serving;	  /* nil counts as true */
	bool terminating;
	uint8_t n_for_nodes, n_for_zones;
	const char **for_nodes, **for_zones; /* hints; NULL = none */
	const char *node;   /* nodeName, "" = unknown */
	const char *zone;   /* "" = unknown */
	const char *target; /* targetRef.name of a Pod, "" = none */
};

struct slice_port {
	const char *name; /* "" = unnamed */
	uint16_t port;	  /* 0 = nil in the API ("all ports"): such a port serves no backend */
	uint8_t proto;
};

/* An EndpointSlice of addressType IPv4 or IPv6 (FQDN ones are dropped by the decoder). */
struct slice {
	struct object_meta meta;
	const char *service; /* label kubernetes.io/service-name */
	uint8_t family;	     /* enum ip_family */
	struct endpoint *endpoints;
	size_t n_endpoints;
	struct slice_port *ports;
	size_t n_ports;
};
