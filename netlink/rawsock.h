/* SPDX-License-Identifier: Apache-2.0 */
/* rawsock.h: AF_PACKET sockets that send whole frames: what announce_if and wire_if share. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/link.h"

/* A socket that sends on any interface and to which nothing is queued (protocol 0, packet(7)); non-blocking.  'purpose'
 * stands in the error's text.  -EPERM: CAP_NET_RAW lacks. */
MUST_USE int rawsock_open(const char *purpose, int *ret_fd, struct err_info *err);

/* Sends an Ethernet frame, its header included (so len >= 14), out of 'link'; never blocks.  -ENOBUFS, -ENETDOWN, -ENXIO:
 * no such interface, -EAGAIN: the socket's queue is full ... */
MUST_USE int rawsock_send(int fd, const struct link *link, const uint8_t *frame, size_t len);
