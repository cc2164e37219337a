/* SPDX-License-Identifier: Apache-2.0 */
/* endpoints.h: which endpoints of a Service's slices are the backends of a port, and what each weighs: the rules at
 * wanted_service(), which are kube-proxy's but for the weights.  Pure. */
#pragma once

#include <stddef.h>

#include "agent/core/slots.h"
#include "agent/core/wanted.h"

/* Of each port so many endpoints are looked at, the first in the order of the slices; fewer where a Service has very many ports,
 * so that what one Service costs is bounded.  1,000 endpoints of each of 100 ports and both families are always looked at. */
#define ENDPOINTS_MAX 10000
#define ENDPOINTS_OF_ALL_PORTS 200000

/* The endpoints that are looked at: more backends than these no port has. */
size_t endpoints_count(const struct wanted_input *in);

/* Whether the endpoint is on this node. */
bool endpoints_is_here(const struct wanted_input *in, const struct endpoint *ep);

/* Those that serve and terminate, in no order, into v[0..endpoints_count()): whether they are backends or not, connections
 * that they have go on.  Returns how many. */
size_t endpoints_draining(const struct wanted_input *in, uint8_t family, const struct service_port *port,
			  struct ip_port *v);

/* The backends of a port in a family into v[0..endpoints_count()), sorted by ip_port_cmp(), distinct, at most
 * NAT_SLOTS_MAX (the first of them); weights >= 1, reduced by their greatest common divisor.  'scratch' serves during the
 * call only (its use is undone).  -ENOSPC: scratch too small. */
MUST_USE int endpoints_choose(const struct wanted_input *in, uint8_t family, const struct service_port *port,
			      struct arena *scratch, struct backend *v, size_t *ret_n);
