#!/usr/bin/env bash
# Runs each fuzz target for the given time.
#
#   hack/fuzz.sh 10m
set -euo pipefail
cd "$(dirname "$0")/.."
for package in $(go list ./pkg/...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "--- $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$package"
	done
done
