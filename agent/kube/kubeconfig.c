/* SPDX-License-Identifier: Apache-2.0 */
/* kubeconfig.c: finds server and credentials of the current context.  What it does not know it leaves alone, what would
 * change who we are or whom we trust (exec, impersonation, unverified servers) it refuses by name.  Nothing here writes
 * a secret into an error. */
#include "agent/kube/kubeconfig.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/base64.h"
#include "agent/base/text.h"
#include "agent/base/yaml.h"

/* A kubeconfig being read. */
struct kubeconfig {
	const char *path;
	struct credentials *to;
	struct err_info *err;
};

/* "FILE:LINE: KEY: reason".  'node' gives the line, NULL = the file's first. */
static int refuse(const struct kubeconfig *kc, const struct ynode *node, const char *key, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

static int refuse(const struct kubeconfig *kc, const struct ynode *node, const char *key, const char *fmt, ...)
{
	char reason[192];
	va_list ap;

	va_start(ap, fmt);
	IGNORE(vsnprintf(reason, sizeof(reason), fmt, ap)); /* cut is fine */
	va_end(ap);
	IGNORE(err_set(kc->err, -EINVAL, "%s:%u: %s: %s", kc->path, node ? node->line : 1, key, reason)); /* its text */
	return -EINVAL;
}

/* The text of an entry, "" when absent. */
static int get_text(const struct kubeconfig *kc, const struct ynode *map, const char *key, const char **ret)
{
	const struct ynode *node = ynode_get(map, key);

	if (node && node->kind != YNODE_SCALAR)
		return refuse(kc, node, key, "not a plain value");
	*ret = node ? node->text : "";
	return 0;
}

/* The map 'inner' of the entry called 'name' in the list 'list', e.g. clusters, cluster. */
static int get_named(const struct kubeconfig *kc, const struct ynode *list, const char *inner, const char *name,
		     const struct ynode **ret)
{
	const struct ynode *body;

	if (list->kind != YNODE_LIST)
		return refuse(kc, list, list->key, "not a list");
	for (size_t i = 0; i < list->n_children; i++) {
		const struct ynode *entry = list->children[i];
		const char *its_name = ynode_text(entry, "name");

		if (!its_name || !text_eq(its_name, name))
			continue;
		body = ynode_get(entry, inner);
		if (!body || body->kind != YNODE_MAP)
			return refuse(kc, entry, inner, "missing or not a map in the entry \"%.64s\"", name);
		*ret = body;
		return 0;
	}
	return refuse(kc, list, list->key, "no entry is called \"%.64s\"", name);
}

static int find_named(const struct kubeconfig *kc, const struct ynode *root, const char *list_key, const char *name,
		      const struct ynode **ret)
{
	const struct ynode *list = ynode_get(root, list_key);
	const char *inner = text_eq(list_key, "clusters") ? "cluster" : text_eq(list_key, "users") ? "user" : "context";

	if (!list)
		return refuse(kc, root, list_key, "missing");
	return get_named(kc, list, inner, name, ret);
}

/* Relative paths are relative to the kubeconfig's folder. */
static char *path_beside(const char *kubeconfig, const char *path)
{
	const char *slash = strrchr(kubeconfig, '/');
	char *joined = NULL;

	if (*path == '/' || !slash)
		return strdup(path);
	if (asprintf(&joined, "%.*s/%s", (int)(slash - kubeconfig), kubeconfig, path) < 0)
		return NULL;
	return joined;
}

/* An item given as base64 (data_key, may be NULL) or else as a file; absent is fine.  As in client-go, data wins. */
static int get_item(const struct kubeconfig *kc, const struct ynode *map, enum credential_kind kind, const char *file_key,
		    const char *data_key)
{
	struct credential *it = &kc->to->items[kind];
	const char *file = "", *data = "", *reason;
	int r;

	if ((r = get_text(kc, map, file_key, &file)) < 0 || (data_key && (r = get_text(kc, map, data_key, &data)) < 0))
		return r;
	if (*data) {
		r = base64_decode(data, strlen(data), &it->data);
		if (r == -EINVAL)
			return refuse(kc, ynode_get(map, data_key), data_key, "not base64");
		if (r < 0)
			return err_errno(kc->err, r, "%s: %s", kc->path, data_key);
		reason = credential_check(kind, &it->data);
		return reason ? refuse(kc, ynode_get(map, data_key), data_key, "%s", reason) : 0;
	}
	if (!*file)
		return 0;
	it->path = path_beside(kc->path, file);
	if (!it->path)
		return err_errno(kc->err, -ENOMEM, "%s", kc->path);
	r = credential_read(it, kind, kc->err);
	return r < 0 ? err_wrap(kc->err, r, "%s:%u: %s", kc->path, ynode_get(map, file_key)->line, file_key) : 0;
}

/* NULL, or why the text is no base URL of an API server. */
static const char *server_check(const char *url)
{
	if (!text_starts(url, "https://"))
		return "must begin with https://";
	if (url[8] == '\0' || url[8] == '/' || url[8] == ':')
		return "has no host";
	for (const char *p = url; *p; p++)
		if (*p <= ' ' || *p > '~' || strchr("@?#\\\"<>", *p))
			return "holds a character that may not stand there";
	return NULL;
}

static int read_cluster(const struct kubeconfig *kc, const struct ynode *cluster)
{
	const char *server = "", *name = "", *skip = "", *proxy = "", *reason;
	size_t n;
	int r;

	if ((r = get_text(kc, cluster, "server", &server)) < 0 ||
	    (r = get_text(kc, cluster, "tls-server-name", &name)) < 0 ||
	    (r = get_text(kc, cluster, "insecure-skip-tls-verify", &skip)) < 0 ||
	    (r = get_text(kc, cluster, "proxy-url", &proxy)) < 0)
		return r;
	if (*skip && !text_eq(skip, "false"))
		return refuse(kc, ynode_get(cluster, "insecure-skip-tls-verify"), "insecure-skip-tls-verify",
			      "refused: the server's certificate is always verified; give certificate-authority");
	if (*proxy)
		return refuse(kc, ynode_get(cluster, "proxy-url"), "proxy-url", "not supported: name the server itself");
	if (!*server)
		return refuse(kc, cluster, "server", "missing");
	reason = server_check(server);
	if (reason)
		return refuse(kc, ynode_get(cluster, "server"), "server", "%s", reason);
	if (*name && !credential_is_host(name))
		return refuse(kc, ynode_get(cluster, "tls-server-name"), "tls-server-name", "not a host name");
	for (n = strlen(server); server[n - 1] == '/'; n--)
		; /* paths are put behind it */
	kc->to->server = strndup(server, n);
	kc->to->tls_server_name = strdup(name);
	if (!kc->to->server || !kc->to->tls_server_name)
		return err_errno(kc->err, -ENOMEM, "%s", kc->path);
	return get_item(kc, cluster, CREDENTIAL_CA, "certificate-authority", "certificate-authority-data");
}

static int read_token(const struct kubeconfig *kc, const struct ynode *user)
{
	struct buf *data = &kc->to->items[CREDENTIAL_TOKEN].data;
	const char *token = "", *reason;
	int r;

	/* As in client-go, the file wins over the token beside it: it is the one that is kept fresh. */
	if ((r = get_item(kc, user, CREDENTIAL_TOKEN, "tokenFile", NULL)) < 0 || (r = get_text(kc, user, "token", &token)) < 0)
		return r;
	if (data->len || !*token)
		return 0;
	buf_puts(data, token);
	if (buf_failed(data) < 0)
		return err_errno(kc->err, buf_failed(data), "%s", kc->path);
	reason = credential_check(CREDENTIAL_TOKEN, data);
	return reason ? refuse(kc, ynode_get(user, "token"), "token", "%s", reason) : 0;
}

static int read_user(const struct kubeconfig *kc, const struct ynode *user)
{
	static const char *const refused[] = { "exec", "auth-provider", "username", "password",
					       "as",   "as-uid",	"as-groups", "as-user-extra" };
	struct credential *items = kc->to->items;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (ynode_get(user, refused[i]))
			return refuse(kc, ynode_get(user, refused[i]), refused[i],
				      "not supported: give a client certificate, token or tokenFile");
	if ((r = get_item(kc, user, CREDENTIAL_CERT, "client-certificate", "client-certificate-data")) < 0 ||
	    (r = get_item(kc, user, CREDENTIAL_KEY, "client-key", "client-key-data")) < 0 || (r = read_token(kc, user)) < 0)
		return r;
	if (items[CREDENTIAL_CERT].data.len && !items[CREDENTIAL_KEY].data.len)
		return refuse(kc, user, "client-key", "missing beside the client certificate");
	if (items[CREDENTIAL_KEY].data.len && !items[CREDENTIAL_CERT].data.len)
		return refuse(kc, user, "client-certificate", "missing beside the client key");
	if (!items[CREDENTIAL_CERT].data.len && !items[CREDENTIAL_TOKEN].data.len)
		return refuse(kc, user, "user", "has no client certificate, token or tokenFile");
	return 0;
}

static int read_root(const struct kubeconfig *kc, const struct ynode *root)
{
	const struct ynode *context, *part;
	const char *name = "";
	int r;

	if (!root || root->kind != YNODE_MAP)
		return refuse(kc, root, "current-context", "missing: this is no kubeconfig");
	r = get_text(kc, root, "current-context", &name);
	if (r < 0)
		return r;
	if (!*name)
		return refuse(kc, root, "current-context", "missing");
	if ((r = find_named(kc, root, "contexts", name, &context)) < 0 ||
	    (r = get_text(kc, context, "cluster", &name)) < 0)
		return r;
	if (!*name)
		return refuse(kc, context, "cluster", "missing");
	if ((r = find_named(kc, root, "clusters", name, &part)) < 0 || (r = read_cluster(kc, part)) < 0 ||
	    (r = get_text(kc, context, "user", &name)) < 0)
		return r;
	if (!*name)
		return refuse(kc, context, "user", "missing");
	r = find_named(kc, root, "users", name, &part);
	return r < 0 ? r : read_user(kc, part);
}

int kubeconfig_read(const char *path, struct credentials *to, struct err_info *err)
{
	const struct kubeconfig kc = { path, to, err };
	AUTO(ynode_freep) struct ynode *root = NULL;
	int r;

	credential_stamp(path, &to->stamp);
	r = ynode_parse_file(path, &root, err);
	return r < 0 ? r : read_root(&kc, root);
}
