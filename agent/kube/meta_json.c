/* SPDX-License-Identifier: Apache-2.0 */
/* meta_json.c: members that Services and EndpointSlices share. */
#include "agent/kube/meta_json.h"

#include <errno.h>
#include <netinet/in.h>

#include "agent/base/text.h"

int meta_decode(const struct walk *root, struct object_meta *m, struct walk *ret_meta, struct err_info *err)
{
	struct walk meta;
	const char *deleted;
	int r;

	if ((r = walk_object(root, "metadata", &meta, err)) < 0 || (r = walk_text(&meta, "name", &m->name, err)) < 0 ||
	    (r = walk_text(&meta, "namespace", &m->ns, err)) < 0 || (r = walk_text(&meta, "uid", &m->uid, err)) < 0 ||
	    (r = walk_text(&meta, "resourceVersion", &m->resource_version, err)) < 0 ||
	    (r = walk_text(&meta, "deletionTimestamp", &deleted, err)) < 0)
		return r;
	if (!*m->name)
		return walk_refuse(&meta, "name", err, "missing");
	if (!*m->ns)
		return walk_refuse(&meta, "namespace", err, "missing");
	m->deleting = *deleted;
	*ret_meta = meta;
	return 0;
}

void meta_texts(struct texts *t, struct object_meta *m)
{
	texts_add(t, &m->ns);
	texts_add(t, &m->name);
	texts_add(t, &m->uid);
	texts_add(t, &m->resource_version);
}

int meta_proto_decode(const struct walk *at, uint8_t *ret, struct err_info *err)
{
	const char *text;
	int r = walk_text(at, "protocol", &text, err);

	if (r < 0)
		return r;
	if (!*text || text_eq(text, "TCP"))
		*ret = IPPROTO_TCP;
	else if (text_eq(text, "UDP"))
		*ret = IPPROTO_UDP;
	else if (text_eq(text, "SCTP"))
		*ret = IPPROTO_SCTP;
	else
		return walk_refuse(at, "protocol", err, "\"%.32s\" is not TCP, UDP or SCTP", text);
	return 0;
}

uint8_t meta_family(const char *text)
{
	return text_eq(text, "IPv4") ? IP_V4 : text_eq(text, "IPv6") ? IP_V6 : IP_NONE;
}

int meta_list(const struct walk *at, const char *key, size_t max, const json_t **ret, struct err_info *err)
{
	int r = walk_array(at, key, ret, err);

	if (r == 0 && json_array_size(*ret) > max) {
		IGNORE(walk_refuse(at, key, err, "more than %zu entries", max)); /* for its text alone */
		return -EMSGSIZE;
	}
	return r;
}
