package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// changing changes all that can be changed of a pod that mounts token Secrets.
const changing = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: bench}, ` +
	`spec: {checks: [{name: secret-exists, action: Deny}, {name: token-long-lived, action: "Off"}], mutate: ` +
	`{serviceAccount: {name: default, when: Always}, automountServiceAccountToken: false, longLivedTokenVolumes: {project: Existing}}}}`

// mutation compares one server with itself: the review of a pod by the
// validating webhook, and by the mutating one, with and without anything to
// change. Nothing is read meanwhile.
func (b *bench) mutation(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tokenward-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	keys, err := newIssuer(distinct)
	if err != nil {
		return err
	}
	api, err := newFakeAPI(dir, holds{secrets: 1_000, tokens: keys})
	if err != nil {
		return err
	}
	defer api.Close()
	body, err := mountingBody(tokenName)
	if err != nil {
		return err
	}
	rows := []struct {
		what, path, policy, want string
		server                   *process
		sample                   sample
	}{
		{what: "validating", path: validatePath, policy: quiet, want: `"allowed":true`},
		{what: "mutating, nothing to change", path: mutatePath, policy: quiet, want: `"allowed":true`},
		{what: "mutating, account, automount and five volumes", path: mutatePath, policy: changing, want: `"patchType":"JSONPatch"`},
	}
	for i := range rows {
		r := &rows[i]
		if r.server, err = b.start(ctx, "tokenward", api.kubeconfig, r.policy, "--signing-key-refresh=1h"); err != nil {
			return err
		}
		defer func() { _ = r.server.stop() }()
		r.server.path = r.path
		if _, err := measure(ctx, r.server, false, body, r.want, 200*time.Millisecond); err != nil { // what is read once is read
			return err
		}
	}
	before := api.requests.Load()
	for range b.rounds {
		for i := range rows {
			s, err := measure(ctx, rows[i].server, false, body, rows[i].want, b.round)
			if err != nil {
				return err
			}
			rows[i].sample.add(s)
		}
	}
	if n := api.requests.Load() - before; n > 0 {
		return fmt.Errorf("%d requests to the API server, though all is known", n)
	}
	fmt.Print("A pod with five token Secrets, validated and changed (HTTP/1.1, no API call)\n\n")
	fmt.Print("| review | p50 | p99 | CPU/review | allocations | p50, times validating | CPU, times validating |\n|---|---|---|---|---|---|---|\n")
	first := &rows[0].sample
	for i := range rows {
		if err := rows[i].sample.printBeside(first, rows[i].what); err != nil {
			return err
		}
	}
	return nil
}
