/* SPDX-License-Identifier: Apache-2.0 */
/* control_plane.h: the VIP of the control plane (--vip, --vip-port): a VIP without a Service.  Its backends are the API
 * servers that the EndpointSlices of default/kubernetes name, less those that do not pass their checks.
 *
 * The slices alone would not do: a server that crashed stays in them for up to 15 s, always ready (they hold Leases in etcd,
 * k8s.io/kubernetes/pkg/controlplane/reconcilers).  Every agent with the option checks, the holder each second, the
 * others each five: they are to know at once who is well when they become the holder, and clients of their own nodes go
 * through their own maps already.
 *
 * The planner treats what control_plane_service() and control_plane_slices() show as a Service of its own.  It owns nothing
 * that would have to be freed; its checks end with the client. */
#pragma once

#include <stdbool.h>

#include "agent/base/buf.h"
#include "agent/core/servers.h"
#include "agent/kube/probe.h"
#include "agent/store.h"
#include "netlink/ct_if.h"

struct control_plane {
	struct kube_client *client; /* NULL: no such VIP */
	struct ip_port vip;
	struct health health;
	struct servers_view view;
	struct kube_probe probes[HEALTH_SERVERS_MAX];
	bool busy[HEALTH_SERVERS_MAX]; /* the probe of that index is under way */
	bool holding, changed, guesses;
	size_t left_out;
	bool itself;
};

/* vip.ip.family IP_NONE: there is no such VIP, and all calls do nothing.  'cp' must not move from now on. */
void control_plane_init(struct control_plane *cp, struct kube_client *client, const struct ip_port *vip);
bool control_plane_on(const struct control_plane *cp);

/* Takes in the slices of SERVERS_NAMESPACE/SERVERS_SERVICE as the store has them; again when they may have changed. */
void control_plane_see(struct control_plane *cp, const struct store *store, mono_t now);

/* Checks the servers whose time has come.  holding: this node holds the VIP.  Returns when to call again at the latest. */
mono_t control_plane_step(struct control_plane *cp, mono_t now, bool holding);

/* Whether there is something new for the planner since this was asked last. */
bool control_plane_changed(struct control_plane *cp);

/* What stands for the API servers; unchanged until the next call of control_plane_see() or dispatch of the client. */
const struct service *control_plane_service(const struct control_plane *cp);
const struct slice *const *control_plane_slices(const struct control_plane *cp, size_t *ret_n);

/* Servers whose connections hang, and are to be cut once the kernel has the slots without them; each is told once, and none
 * before control_plane_changed() has been asked.  Returns how many. */
size_t control_plane_take_hung(struct control_plane *cp, struct ct_gone ret[static HEALTH_SERVERS_MAX]);

/* "new" (not checked yet), "up", "down", "silent". */
const char *control_plane_state(const struct health_server *s);

/* Its state for "leasehold status", a JSON value. */
void control_plane_json(const struct control_plane *cp, mono_t now, struct buf *out);

/* The metric leasehold_control_plane_server_up. */
void control_plane_metrics(const struct control_plane *cp, struct buf *out);
