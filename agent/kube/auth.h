/* SPDX-License-Identifier: Apache-2.0 */
/* auth.h: who we are to the API server: in-cluster credentials or a kubeconfig.
 * Secrets are held in memory, never logged.  Files are read again when they change (kubelet rotates tokens by
 * swapping symlinks, so by path), at most once a second, and at once after a 401. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/mono.h"

struct kube_auth;

/* From a kubeconfig file: current-context; clusters: server, certificate-authority(-data), tls-server-name,
 * insecure-skip-tls-verify is refused; users: client-certificate(-data), client-key(-data), token, tokenFile;
 * exec, auth-provider, username are refused by name.  Relative paths are relative to the file.
 * -EINVAL with file, line and key. */
MUST_USE int kube_auth_from_kubeconfig(const char *path, struct kube_auth **ret, struct err_info *err);

/* From a Pod's service account: token, ca.crt, namespace below 'dir' (NULL = the standard place), host and port from
 * the two given strings (KUBERNETES_SERVICE_HOST and _PORT). */
MUST_USE int kube_auth_in_cluster(const char *dir, const char *host, const char *port, struct kube_auth **ret,
				  struct err_info *err);

void kube_auth_free(struct kube_auth *a);
/* The server named by the credentials' source, e.g. "https://192.0.2.100:6443". */
const char *kube_auth_server(const struct kube_auth *a);
