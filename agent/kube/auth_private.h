/* SPDX-License-Identifier: Apache-2.0 */
/* auth_private.h: what the client needs of the credentials.  Everything returned is borrowed until the next
 * kube_auth_refresh() or kube_auth_free(). */
#pragma once

#include <stdint.h>

#include "agent/kube/auth.h"

/* PEM bytes; *ret_len = 0: none. */
void kube_auth_ca(const struct kube_auth *a, const char **ret_pem, size_t *ret_len);
void kube_auth_client_cert(const struct kube_auth *a, const char **ret_pem, size_t *ret_len);
void kube_auth_client_key(const struct kube_auth *a, const char **ret_pem, size_t *ret_len);

/* The bearer token, "" = none: printable ASCII without blanks, so it is safe in a header. */
const char *kube_auth_token(const struct kube_auth *a);

/* The name the server's certificate must carry, "" = the host of the URL. */
const char *kube_auth_tls_server_name(const struct kube_auth *a);

/* Looks whether a file has changed (its inode, size or times), at most once a second, and then reads all anew;
 * 'force' reads at once whatever the times say.  All or nothing: after an error the last good credentials stay and the
 * next call tries again.  The server stays as it was first read.  *ret_changed (may be NULL): other credentials now.
 * Errors as kube_auth_from_kubeconfig(), and negative errno of reading a file. */
MUST_USE int kube_auth_refresh(struct kube_auth *a, mono_t now, bool force, bool *ret_changed, struct err_info *err);

/* Grows with each change of the TLS material (CA, client certificate, key, server name). */
uint64_t kube_auth_generation(const struct kube_auth *a);
