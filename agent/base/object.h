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
#define OBJECT_INGRESS_MAX 16	   /* status.loadBalancer.ingress entries looked at */

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
	enum balance balance;	 /* leasehold.io/balance */
	/* First annotation or field of ours that could not be read, with its place and reason; "" = all well.
	 * The value concerned counts as absent, the rest of the object is good. */
	const char *problem;

	/* status.loadBalancer.ingress: those with an address; foreign = entries without one (hostname). */
	struct ip ingress[OBJECT_INGRESS_MAX];
	size_t n_ingress;
	bool ingress_foreign;
	bool ingress_all_vip_mode; /* each entry has ipMode VIP (or none) */
};

struct endpoint {
	struct ip ip;
	const char *node; /* nodeName, "" = unknown */
	bool ready;	  /* nil counts as true */
	bool serving;	  /* nil counts as true */
	bool terminating;
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
