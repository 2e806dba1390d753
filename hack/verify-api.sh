#!/usr/bin/env bash
# Fails if the CustomResourceDefinition takes from users what the last release gave
# them. docs/api.md has the promise.
set -euo pipefail
cd "$(dirname "$0")/.."
crd=config/crd/tokenward.dev_tokenpolicies.yaml
if ! tag=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null); then
	echo "there is no release yet that the API could be compared with"
	exit 0
fi
before=$(mktemp)
trap 'rm -f "$before"' EXIT
git show "$tag:$crd" >"$before"
if ! go run ./hack/apicompat "$before" "$crd"; then
	echo "error: the API is not that of $tag any more: see docs/api.md" >&2
	exit 1
fi
echo "the API gives what that of $tag gave"
