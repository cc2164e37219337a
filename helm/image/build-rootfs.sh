#!/bin/sh
# Makes the build context of a small image: the program and the shared libraries it needs, and
# nothing else.  The Dockerfile at the root calls this in its build stage; without any registry:
#
#	make && helm/image/build-rootfs.sh build/release/leasehold /tmp/context
#	buildah build -t localhost/leasehold:0.1.0 /tmp/context
#
# The context holds rootfs/ and a Dockerfile that copies it into an empty image.
set -eu

die()
{
	echo "build-rootfs.sh: $*" >&2
	exit 1
}

[ $# -eq 2 ] || die "usage: build-rootfs.sh PROGRAM DIRECTORY"
program=$1
context=$2
here=$(cd "$(dirname "$0")" && pwd)
[ -x "$program" ] || die "$program is no program: run make first"
[ ! -e "$context/rootfs" ] || die "$context/rootfs exists: remove it first"

root=$context/rootfs
mkdir -p "$root/usr/bin"
install -m 0755 "$program" "$root/usr/bin/leasehold"
# Symbols stay, for stack traces; debug information is several times the program.
if command -v strip >/dev/null; then
	strip --strip-debug "$root/usr/bin/leasehold"
fi

# "libx.so.1 => /lib/libx.so.1 (0x...)" and, for the loader, "/lib64/ld-linux.so.2 (0x...)".
libraries=$(ldd "$program" | awk '$2 == "=>" { print $3 == "not" ? "missing:" $1 : $3 }
	$1 ~ /^\// { print $1 }')
for library in $libraries; do
	case $library in
	missing:*)
		die "$program needs ${library#missing:}, which is not here"
		;;
	esac
	# At the path by which the loader looks for it, as the file that stands behind the links.
	mkdir -p "$root$(dirname "$library")"
	install -m 0755 "$(readlink -f "$library")" "$root$library"
	# The library's licence travels with it.
	owner=$(dpkg-query --search "$(readlink -f "$library")" 2>/dev/null || true)
	[ -n "$owner" ] ||
		owner=$(dpkg-query --search "${library#/usr}" 2>/dev/null || true)
	package=$(echo "$owner" | sed -n '1s/[:,].*//p')
	if [ -n "$package" ] && [ -e "/usr/share/doc/$package/copyright" ]; then
		mkdir -p "$root/usr/share/doc/$package"
		install -m 0644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
	fi
done
mkdir -p "$root/usr/share/doc/leasehold"
install -m 0644 "$here/../../LICENSE" "$root/usr/share/doc/leasehold/copyright"
# Mount points: the image's own file system may be read-only.
mkdir -p "$root/etc/leasehold" "$root/run/leasehold"

cat >"$context/Dockerfile" <<'END'
FROM scratch
COPY rootfs /
ENTRYPOINT ["/usr/bin/leasehold"]
CMD ["--help"]
END
