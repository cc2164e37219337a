/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_net.h: what the parts of the doctor that look at interfaces share. */
#pragma once

#include "agent/core/place.h"
#include "agent/doctor.h"

/* Which interfaces of this node may carry VIPs; asks the API for the Node's labels where they matter.  labels: filled, and
 * borrowed by nobody. */
struct place_rules doctor_place_rules(const struct doctor *d, struct labels *labels);

/* The Node's labels that the configuration asks for.  Negative errno: they are not known. */
MUST_USE int doctor_labels(const struct doctor *d, struct labels *ret);

void doctor_mac(const uint8_t mac[static LINK_MAC_LEN], char ret[static 18]);

/* announce: bgp: lo, BGP sessions, and the interfaces that lead to routers (doctor_routes.c). */
void doctor_routes(const struct doctor *d, const struct link_state *s, struct facts_net *ret);

/* FORWARD, other addresses of pools, kube-proxy (doctor_others.c). */
void doctor_others(const struct doctor *d, const struct link_state *s, struct facts_net *ret);

/* Asks for VIPs and the addresses of --probe, and listens. */
void doctor_wire(const struct doctor *d, const struct link_state *s, const struct place_rules *rules, struct facts_wire *ret);
