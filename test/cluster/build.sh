#!/usr/bin/env bash
# Builds the control plane of one Kubernetes version from the Go module
# test/cluster/vX.Y into bin/k8s/vX.Y.Z, unless it is there already.
#
#   test/cluster/build.sh v1.37
set -euo pipefail
minor=$1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$here/$minor"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
out="$root/bin/k8s/$version"
# What is there is known by what it was built from.
etcd=$(cd "$here/v1.37" && go list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3)
stamp="kubernetes $version, etcd $etcd, $(sha256sum <"$here/build.sh")"
if [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then
	exit 0
fi
echo "building the control plane $version (some minutes, once)" >&2
mkdir -p "$out"
package=k8s.io/component-base/version
number=${version#v}
ldflags="-s -w -X $package.gitVersion=$version -X $package.gitMajor=${number%%.*} -X $package.gitMinor=$(cut -d. -f2 <<<"$number") -X $package.gitTreeState=clean"
export CGO_ENABLED=0 GOFLAGS=
go build -trimpath -ldflags "$ldflags" -o "$out/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager
# One etcd serves all versions.
cd "$here/v1.37"
go build -trimpath -ldflags '-s -w' -o "$out/etcd" go.etcd.io/etcd/server/v3
echo "$stamp" >"$out/.stamp"
