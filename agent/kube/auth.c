/* SPDX-License-Identifier: Apache-2.0 */
/* auth.c: credentials from a kubeconfig or a Pod's service account, read again as a whole when a file changes.  The
 * client asks for them before each request (auth_private.h).  Nothing here talks to a server, and no text made here
 * holds a secret. */
#include "agent/kube/auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ip.h"
#include "agent/base/text.h"
#include "agent/kube/auth_private.h"
#include "agent/kube/credentials.h"
#include "agent/kube/kubeconfig.h"

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"
#define CHECK_MS 1000

struct kube_auth {
	char *kubeconfig; /* path; NULL: in-cluster */
	char *dir;	  /* in-cluster: where the files lie */
	char *server;	  /* as first read: it may be borrowed for long */
	struct credentials now;
	mono_t checked_at;
	uint64_t generation;
};

static int read_service_account(const char *dir, struct credentials *to, struct err_info *err)
{
	static const struct {
		enum credential_kind kind;
		const char *name;
	} files[] = { { CREDENTIAL_CA, "ca.crt" }, { CREDENTIAL_TOKEN, "token" } };

	to->tls_server_name = strdup("");
	if (!to->tls_server_name)
		return err_errno(err, -ENOMEM, "%s", dir);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		struct credential *it = &to->items[files[i].kind];
		int r;

		if (asprintf(&it->path, "%s/%s", dir, files[i].name) < 0) {
			it->path = NULL; /* undefined after a failure */
			return err_errno(err, -ENOMEM, "%s", dir);
		}
		r = credential_read(it, files[i].kind, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "https://HOST:PORT"; an IPv6 host gets brackets. */
static int in_cluster_server(const char *host, const char *port, char **ret, struct err_info *err)
{
	char *server = NULL;
	uint64_t number = 0;
	struct ip ip;
	bool v6;

	if (!host || !*host)
		return err_set(err, -EINVAL, "KUBERNETES_SERVICE_HOST: not set: outside a Pod, give --kubeconfig");
	if (!port || text_to_u64(port, 65535, &number) < 0 || number == 0)
		return err_set(err, -EINVAL, "KUBERNETES_SERVICE_PORT: not 1..65535");
	v6 = ip_parse(host, &ip) == 0 && ip.family == IP_V6;
	if (!v6 && (!credential_is_host(host) || strchr(host, ':')))
		return err_set(err, -EINVAL, "KUBERNETES_SERVICE_HOST: not an address or host name");
	if (asprintf(&server, "https://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", (unsigned int)number) < 0)
		return err_errno(err, -ENOMEM, "server");
	*ret = server;
	return 0;
}

static void kube_auth_freep(struct kube_auth **a)
{
	kube_auth_free(*a);
}

static struct kube_auth *auth_new(void)
{
	struct kube_auth *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	credentials_init(&a->now);
	a->checked_at = MONO_NEVER;
	a->generation = 1;
	return a;
}

int kube_auth_from_kubeconfig(const char *path, struct kube_auth **ret, struct err_info *err)
{
	AUTO(kube_auth_freep) struct kube_auth *a = auth_new();
	int r;

	if (!a || !(a->kubeconfig = strdup(path)))
		return err_errno(err, -ENOMEM, "%s", path);
	r = kubeconfig_read(path, &a->now, err);
	if (r < 0)
		return r;
	a->server = TAKE(a->now.server);
	*ret = TAKE(a);
	return 0;
}

int kube_auth_in_cluster(const char *dir, const char *host, const char *port, struct kube_auth **ret,
			 struct err_info *err)
{
	AUTO(kube_auth_freep) struct kube_auth *a = auth_new();
	int r;

	if (!a || !(a->dir = strdup(dir ? dir : SERVICE_ACCOUNT_DIR)))
		return err_errno(err, -ENOMEM, "service account");
	if ((r = in_cluster_server(host, port, &a->server, err)) < 0 ||
	    (r = read_service_account(a->dir, &a->now, err)) < 0)
		return r;
	*ret = TAKE(a);
	return 0;
}

void kube_auth_free(struct kube_auth *a)
{
	if (!a)
		return;
	credentials_fini(&a->now);
	free(a->kubeconfig);
	free(a->dir);
	free(a->server);
	free(a);
}

static bool files_changed(const struct kube_auth *a)
{
	bool changed = credential_file_changed(a->kubeconfig, &a->now.stamp);

	for (int i = 0; i < CREDENTIAL_COUNT; i++)
		changed = changed || credential_file_changed(a->now.items[i].path, &a->now.items[i].stamp);
	return changed;
}

/* Reads everything anew and puts it in the place of what is there. */
static int reload(struct kube_auth *a, bool *ret_changed, struct err_info *err)
{
	bool token, tls;
	struct credentials fresh;
	int r;

	credentials_init(&fresh);
	r = a->kubeconfig ? kubeconfig_read(a->kubeconfig, &fresh, err) : read_service_account(a->dir, &fresh, err);
	if (r < 0) {
		credentials_fini(&fresh);
		return r;
	}
	token = !credential_eq(&fresh.items[CREDENTIAL_TOKEN], &a->now.items[CREDENTIAL_TOKEN]);
	tls = !text_eq(fresh.tls_server_name, a->now.tls_server_name);
	for (int i = CREDENTIAL_CA; i <= CREDENTIAL_KEY; i++)
		tls = tls || !credential_eq(&fresh.items[i], &a->now.items[i]);
	credentials_fini(&a->now);
	a->now = fresh;
	a->generation += tls;
	*ret_changed = tls || token;
	return 0;
}

int kube_auth_refresh(struct kube_auth *a, mono_t now, bool force, bool *ret_changed, struct err_info *err)
{
	bool soon = !mono_is_never(a->checked_at) && mono_diff_ms(now, a->checked_at) < CHECK_MS;
	bool changed = false;
	int r;

	if (force || !soon) {
		a->checked_at = now;
		r = force || files_changed(a) ? reload(a, &changed, err) : 0;
		if (r < 0)
			return r;
	}
	if (ret_changed)
		*ret_changed = changed;
	return 0;
}

const char *kube_auth_server(const struct kube_auth *a)
{
	return a->server;
}

static void get_pem(const struct kube_auth *a, enum credential_kind kind, const char **ret_pem, size_t *ret_len)
{
	*ret_pem = buf_text(&a->now.items[kind].data);
	*ret_len = a->now.items[kind].data.len;
}

void kube_auth_ca(const struct kube_auth *a, const char **ret_pem, size_t *ret_len)
{
	get_pem(a, CREDENTIAL_CA, ret_pem, ret_len);
}

void kube_auth_client_cert(const struct kube_auth *a, const char **ret_pem, size_t *ret_len)
{
	get_pem(a, CREDENTIAL_CERT, ret_pem, ret_len);
}

void kube_auth_client_key(const struct kube_auth *a, const char **ret_pem, size_t *ret_len)
{
	get_pem(a, CREDENTIAL_KEY, ret_pem, ret_len);
}

const char *kube_auth_token(const struct kube_auth *a)
{
	return buf_text(&a->now.items[CREDENTIAL_TOKEN].data);
}

const char *kube_auth_tls_server_name(const struct kube_auth *a)
{
	return a->now.tls_server_name;
}

uint64_t kube_auth_generation(const struct kube_auth *a)
{
	return a->generation;
}
