/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c: counts, and their text. */
#include "agent/metrics.h"

#include <inttypes.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/version.h"

static const int64_t bounds_ms[METRICS_LATENCY_BUCKETS] = { 1, 2, 5, 10, 25, 50, 100, 250, 1000 };

void metrics_request(struct metrics *m, const char *verb, int code)
{
	struct metrics_request *r = m->requests;

	for (unsigned int i = 0; i < m->n_requests; i++, r++) {
		if (r->code == code && text_eq(r->verb, verb)) {
			r->count++;
			return;
		}
	}
	if (m->n_requests == METRICS_REQUESTS_MAX)
		return; /* more verbs and codes than HTTP has use for */
	IGNORE(text_copy(r->verb, sizeof(r->verb), verb)); /* verbs are short */
	r->code = code;
	r->count = 1;
	m->n_requests++;
}

void metrics_renewed(struct metrics *m, int64_t ms)
{
	unsigned int i = 0;

	while (i < METRICS_LATENCY_BUCKETS && ms > bounds_ms[i])
		i++;
	m->renew_buckets[i]++;
	m->renew_count++;
	m->renew_sum_ms += (uint64_t)(ms < 0 ? 0 : ms);
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP leasehold_%s %s\n# TYPE leasehold_%s %s\n", name, help, name, type);
}

static void gauge(struct buf *out, const char *name, const char *help, double value)
{
	head(out, name, "gauge", help);
	buf_printf(out, "leasehold_%s %g\n", name, value);
}

static void counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
	head(out, name, "counter", help);
	buf_printf(out, "leasehold_%s %" PRIu64 "\n", name, value);
}

static void render_requests(const struct metrics *m, struct buf *out)
{
	head(out, "api_requests_total", "counter", "Requests to the API server by verb and HTTP code (0: no answer).");
	for (unsigned int i = 0; i < m->n_requests; i++)
		buf_printf(out, "leasehold_api_requests_total{verb=\"%s\",code=\"%d\"} %" PRIu64 "\n", m->requests[i].verb,
			   m->requests[i].code, m->requests[i].count);
}

static void render_renewals(const struct metrics *m, struct buf *out)
{
	uint64_t sum = 0;

	head(out, "lease_write_seconds", "histogram", "From sending a Lease write to its reply, successful ones.");
	for (unsigned int i = 0; i < METRICS_LATENCY_BUCKETS; i++) {
		sum += m->renew_buckets[i];
		buf_printf(out, "leasehold_lease_write_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
			   (double)bounds_ms[i] / 1000, sum);
	}
	buf_printf(out, "leasehold_lease_write_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", m->renew_count);
	buf_printf(out, "leasehold_lease_write_seconds_sum %.3f\n", (double)m->renew_sum_ms / 1000);
	buf_printf(out, "leasehold_lease_write_seconds_count %" PRIu64 "\n", m->renew_count);
}

static void render_conflicts(const struct metrics *m, struct buf *out)
{
	head(out, "conflicts_total", "counter", "Others found to use a VIP, by what they are (probe: merely asked for it).");
	for (unsigned int i = 0; i < CONFLICT_KIND_N; i++)
		buf_printf(out, "leasehold_conflicts_total{kind=\"%s\"} %" PRIu64 "\n", conflict_kind_name((enum conflict_kind)i),
			   m->conflict_kinds[i]);
}

void metrics_render(const struct metrics *m, const struct metrics_now *now, struct buf *out)
{
	head(out, "build_info", "gauge", "Always 1; the labels tell the build.");
	buf_printf(out, "leasehold_build_info{version=\"%s\",revision=\"%s\"} 1\n", version_text(), version_revision());
	gauge(out, "leading", "1 while this node holds the Lease.", now->leading);
	gauge(out, "vips_held", "VIPs that this node answers for.", now->vips_held);
	gauge(out, "vips_routed", "VIPs that this node offers to route (announce bgp).", now->vips_routed);
	gauge(out, "vips_wanted", "VIPs of all Services that are served.", now->vips_wanted);
	gauge(out, "services", "Services that are served.", now->services);
	gauge(out, "api_synced", "1 once Services and EndpointSlices are in view.", now->synced);
	gauge(out, "kernel_as_wanted", "1 while the kernel holds what is wanted.", now->as_wanted);
	if (now->lease_age_s >= 0)
		gauge(out, "lease_age_seconds", "Since the last successful Lease write was sent.", now->lease_age_s);
	counter(out, "transitions_total", "Times this node began to hold.", m->transitions);
	counter(out, "announcements_total", "Gratuitous ARP and unsolicited NA frames sent.", m->announcements);
	counter(out, "announcement_errors_total", "Rounds of announcements that failed.", m->announce_errors);
	gauge(out, "gate", "1 where the kernel gate is on.", now->gate);
	counter(out, "gate_put_back_total", "Times the gate was removed or displaced by others and put back.", now->gate_put_back);
	head(out, "gate_frames_total", "counter", "Frames that the gate dropped, by rule, or sent on to a successor (redirect).");
	buf_printf(out, "leasehold_gate_frames_total{what=\"arp\"} %" PRIu64 "\n", now->gate_arp);
	buf_printf(out, "leasehold_gate_frames_total{what=\"ip\"} %" PRIu64 "\n", now->gate_ip);
	buf_printf(out, "leasehold_gate_frames_total{what=\"egress\"} %" PRIu64 "\n", now->gate_egress);
	buf_printf(out, "leasehold_gate_frames_total{what=\"redirect\"} %" PRIu64 "\n", now->gate_redirected);
	counter(out, "tables_lost_total", "Times somebody removed nftables tables of ours and they were put back.", now->tables_lost);
	render_conflicts(m, out);
	gauge(out, "vips_in_conflict", "VIPs that somebody else uses, too, as far as this node knows.", now->vips_in_conflict);
	counter(out, "conflict_probes_total", "Frames sent to find others who use VIPs of this node.", m->conflict_probes);
	counter(out, "handovers_total", "Moves away that this node began.", m->handovers);
	counter(out, "handovers_failed_total", "Those that failed.", m->handovers_failed);
	counter(out, "pauses_total", "Times the clocks jumped or the process stood still.", m->pauses);
	gauge(out, "overtime", "Leases held past their deadline because the API is away.", now->overtime);
	counter(out, "netlink_errors_total", "Kernel requests that failed.", now->netlink_errors);
	counter(out, "nft_operations_total", "nftables elements added or deleted.", now->nat_ops);
	counter(out, "address_operations_total", "Addresses set, refreshed or removed.", now->addr_ops);
	counter(out, "unreadable_objects_total", "API objects that could not be read.", now->bad_objects);
	counter(out, "events_total", "Kubernetes Events sent.", m->events_sent);
	counter(out, "events_dropped_total", "Kubernetes Events that could not be sent.", m->events_dropped);
	counter(out, "loop_turns_total", "Times the loop woke up.", m->loop_turns);
	counter(out, "vip_looks_total", "Times all VIPs were looked at, address, gate and readiness.", m->vip_looks);
	counter(out, "builds_total", "Times Services were gone through for what the data plane is to have.", m->builds);
	gauge(out, "loop_late_max_seconds", "Longest time the loop ran behind its timer.",
	      (double)m->loop_late_max_ms / 1000);
	render_requests(m, out);
	render_renewals(m, out);
}
