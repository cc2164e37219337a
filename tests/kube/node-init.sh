#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The first process of a test node: node-init.sh DIRECTORY NAME.  It runs in PID, mount and UTS
# namespaces of its own, makes the node's view of the file system, and then only reaps.  When it is
# killed, the kernel ends every process of the node, and the node's mounts go with the last of them.
set -eu
directory=$1
name=$2

hostname "$name"
# kubelet shares mounts with its pods; this makes a peer group inside the node, not with the host.
mount --make-rshared /
# Paths that are the same on every node: /run (sockets, and what pods mount from there) and
# /var/log.  Everything else of the node is under /run/node.
mkdir -p "$directory/log"
mount --bind "$directory/log" /var/log
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/node /run/lock
mount --bind "$directory" /run/node

# kubelet sets these for the whole machine unless they have its values already.
sysctls="vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1
	kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000"
mkdir /run/node-sysctl
for setting in $sysctls; do
	file=/run/node-sysctl/$(echo "${setting%=*}" | tr / .)
	echo "${setting#*=}" >"$file"
	mount --bind "$file" "/proc/sys/${setting%=*}"
done

touch /run/node/up
# Waiting for a child that never ends reaps every orphan in the meantime.
sleep infinity &
wait
