#!/usr/bin/env bash
# Fails if "make generate" or "go mod tidy" changes any file.
set -euo pipefail
cd "$(dirname "$0")/.."
state() { git ls-files -co --exclude-standard -z -- docs pkg config charts go.mod go.sum | sort -z | xargs -0 sha256sum 2>/dev/null; }
before=$(state)
make --no-print-directory generate
go mod tidy
if ! diff <(echo "$before") <(state); then
	echo "error: generated files are stale: run \"make generate\" and \"go mod tidy\", and commit what changes" >&2
	exit 1
fi
