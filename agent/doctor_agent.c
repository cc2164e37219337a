/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_agent.c: whether an agent runs on this node, which, and what it says of itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/base/text.h"
#include "agent/control.h"
#include "agent/doctor.h"
#include "agent/version.h"

#define PATIENCE_MS 2000 /* at most: the other parts begin after it */
#define ANSWER_MAX ((size_t)16 * 1024 * 1024)

int doctor_agent_pid(const char *dir)
{
	AUTO(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);

	/* unix(7): SO_PEERCRED of a client tells who called listen(2). */
	if (fd < 0 || snprintf(a.sun_path, sizeof(a.sun_path), "%s/agent.sock", dir) >= (int)sizeof(a.sun_path) ||
	    connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return 0;
	return peer.pid;
}

/* VIPs beyond FACT_PROBES_MAX are only counted. */
static int decode(struct doctor *d, const char *json, size_t len, struct err_info *err)
{
	d->agent.vips = calloc(FACT_PROBES_MAX, sizeof(*d->agent.vips));
	d->agent.cap_vips = d->agent.vips ? FACT_PROBES_MAX : 0;
	return agent_decode(json, len, &d->agent, err);
}

void doctor_agent(struct doctor *d, struct facts_agent *ret)
{
	struct err_info err = ERR_INFO_INIT;
	struct buf json = BUF_INIT(ANSWER_MAX);
	const mono_t now = mono_now();
	const mono_t until = mono_min(mono_add_ms(now, PATIENCE_MS), mono_add_ms(now, mono_diff_ms(d->until, now) / 3));
	int r;

	IGNORE(text_copy(ret->our_version, sizeof(ret->our_version), version_text())); /* only compared */
	r = control_query(d->cfg->state_dir, "json", until, &json, &err);
	ret->timed_out = r == -ETIMEDOUT;
	ret->running = r != -ENOENT && r != -ECONNREFUSED;
	if (r == 0)
		r = decode(d, json.data, json.len, &err);
	buf_fini(&json);
	if (r == -EACCES || r == -EPERM) {
		IGNORE(text_copy(ret->skipped, sizeof(ret->skipped), err.text)); /* same size */
		return;
	}
	if (r < 0) {
		doctor_bad(&ret->asked, err.text);
		return;
	}
	doctor_good(&ret->asked);
	ret->pid = doctor_agent_pid(d->cfg->state_dir);
	ret->ready = d->agent.ready;
	ret->n_vips = d->agent.n_vips;
	IGNORE(text_copy(ret->why_not, sizeof(ret->why_not), d->agent.why_not)); /* same size */
	IGNORE(text_copy(ret->version, sizeof(ret->version), d->agent.version)); /* likewise */
	IGNORE(text_copy(ret->role, sizeof(ret->role), d->agent.role)); /* likewise */
}
