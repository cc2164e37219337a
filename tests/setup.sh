#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that the lists named on the command line ask for and the machine lacks.
# Services of these packages are kept from starting: tests start what they need in namespaces of their own.
#
#	setup.sh FILE...     e.g. setup.sh tests/packages.txt
set -eu

wanted=$(sed 's/#.*//' "$@" | tr -s '[:space:]' '\n' | sort -u)
missing=""
for p in $wanted; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "missing packages; as root run: apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing" >&2

policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e "$policy" ]; then
	made=$policy
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
trap '[ -z "$made" ] || rm -f "$made"' EXIT

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words on purpose
install()
{
	apt-get install -y -q --no-install-recommends $missing >&2
}
install || { apt-get update -q >&2 && install; }
