/* SPDX-License-Identifier: Apache-2.0 */
/* kubeconfig.h: the parts of a kubeconfig that auth.h names.  For auth.c alone. */
#pragma once

#include "agent/kube/credentials.h"

/* Fills '*to' (initialised); after a failure it holds a part.  -EINVAL with "FILE:LINE: key: reason"; also the errors
 * of reading the files. */
MUST_USE int kubeconfig_read(const char *path, struct credentials *to, struct err_info *err);
