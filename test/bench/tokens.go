package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
)

// quiet finds nothing wrong with a token that is good: that it is long-lived
// would be on record.
const quiet = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: bench}, ` +
	`spec: {checks: [{name: secret-exists, action: Deny}, {name: token-long-lived, action: "Off"}]}}`

// verified is how many tokens were found good so far.
const verified = `tokenward_token_verifications_total{result="valid"}`

// tokenRow is a line of the table.
type tokenRow struct {
	what   string
	name   func(i int) string
	body   []byte
	want   string
	sample sample
}

// tokens compares one server with itself, by what is in five Secrets that the
// pod mounts besides the others. Nothing is read meanwhile.
func (b *bench) tokens(ctx context.Context) error {
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
	server, err := b.start(ctx, "tokenward", api.kubeconfig, quiet, "--signing-key-refresh=1h")
	if err != nil {
		return err
	}
	defer func() { _ = server.stop() }()
	rows := []tokenRow{
		{what: "Opaque", name: opaqueName},
		{what: "token Secrets", name: tokenName},
	}
	for i := range rows {
		if rows[i].body, err = mountingBody(rows[i].name); err != nil {
			return err
		}
		if rows[i].want, err = server.warmUp(ctx, rows[i].body); err != nil {
			return fmt.Errorf("five %s: %w", rows[i].what, err)
		}
	}
	if err := server.looksInto(ctx, rows[1].body); err != nil {
		return err
	}
	before := api.requests.Load()
	for range b.rounds {
		for i := range rows {
			s, err := measure(ctx, server, false, rows[i].body, rows[i].want, b.round)
			if err != nil {
				return err
			}
			rows[i].sample.add(s)
		}
	}
	if n := api.requests.Load() - before; n > 0 {
		return fmt.Errorf("%d requests to the API server, though all is well", n)
	}
	return printTokens(rows)
}

func printTokens(rows []tokenRow) error {
	fmt.Print("The same with five Secrets more, by what they are (HTTP/1.1, allow, no API call)\n\n")
	fmt.Print("| five Secrets | p50 | p99 | CPU/review | allocations | p50, times Opaque | CPU, times Opaque |\n|---|---|---|---|---|---|---|\n")
	plain := &rows[0].sample
	for i := range rows {
		if err := rows[i].sample.printBeside(plain, rows[i].what); err != nil {
			return err
		}
	}
	return nil
}

// mountingBody is the review that is allowed, of a pod that runs as robot and
// mounts five Secrets more.
func mountingBody(name func(i int) string) ([]byte, error) {
	body := allowBody()
	var volumes, mounts strings.Builder
	for i := range mounted {
		_, _ = fmt.Fprintf(&volumes, `{"name":"%s","secret":{"secretName":"%s","defaultMode":420}},`, name(i), name(i))
		_, _ = fmt.Fprintf(&mounts, `{"name":"%s","readOnly":true,"mountPath":"/var/run/%s"},`, name(i), name(i))
	}
	for _, r := range []struct{ at, after, insert string }{
		{`"serviceAccountName":"default","serviceAccount":"default"`, "", `"serviceAccountName":"` + robot + `","serviceAccount":"` + robot + `"`},
		{`"volumes":[{"name":"tls"`, `"volumes":[`, volumes.String() + `{"name":"tls"`},
		{`"volumeMounts":[{"name":"tls"`, `"volumeMounts":[`, mounts.String() + `{"name":"tls"`},
	} {
		if bytes.Count(body, []byte(r.at)) != 1 {
			return nil, fmt.Errorf("%s is not in the review once", r.at)
		}
		body = bytes.Replace(body, []byte(r.at), []byte(r.after+r.insert), 1)
	}
	return body, nil
}

// warmUp reviews a pod until all is in memory, and returns the answer, in which
// nothing may be found.
func (p *process) warmUp(ctx context.Context, body []byte) (string, error) {
	client := p.client(false)
	defer client.CloseIdleConnections()
	var answer []byte
	for range 3 {
		var err error
		if _, answer, err = post(ctx, client, p.url(), body); err != nil {
			return "", err
		}
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(answer, &review); err != nil {
		return "", err
	}
	if r := review.Response; r == nil || !r.Allowed || len(r.Warnings) > 0 || len(r.AuditAnnotations) > 0 {
		return "", fmt.Errorf("something is found: %s", answer)
	}
	return string(answer), nil
}

// looksInto makes sure that the tokens of the review are looked into: another
// account must not have them.
func (p *process) looksInto(ctx context.Context, body []byte) error {
	client := p.client(false)
	defer client.CloseIdleConnections()
	own := []byte(`"serviceAccountName":"` + robot + `"`)
	code, answer, err := post(ctx, client, p.url(), bytes.Replace(body, own, []byte(`"serviceAccountName":"default"`), 1))
	if err != nil {
		return err
	}
	if n := bytes.Count(answer, []byte("token-own-account: Secret")); code != http.StatusOK || n < mounted {
		return fmt.Errorf("%d of %d foreign tokens are found: %s", n, mounted, answer)
	}
	return nil
}

const (
	manyTokens = 20_000
	keySettle  = 2 * time.Second
	// verifyAim is how long it may take to verify them all again.
	verifyAim = 10 * time.Second
)

// keyChange measures how long it takes to verify all tokens by other keys, and
// what they take in memory.
func (b *bench) keyChange(ctx context.Context) error {
	without, err := b.verifying(ctx, 0)
	if err != nil {
		return err
	}
	with, err := b.verifying(ctx, manyTokens)
	if err != nil {
		return err
	}
	fmt.Printf("%d token Secrets, after the API server has published one key more\n\n| what | measured |\n|---|---|\n", manyTokens)
	slices.Sort(with.took)
	longest, flag := with.took[len(with.took)-1], ""
	if longest > verifyAim {
		flag = "; **over " + verifyAim.String() + "**"
	}
	fmt.Printf("| time until all are verified again | %s, at most %s in %d runs%s |\n",
		with.took[len(with.took)/2].Round(time.Millisecond), longest.Round(time.Millisecond), len(with.took), flag)
	fmt.Printf("| time from start to ready | %s |\n", with.ready.Round(time.Millisecond))
	fmt.Printf("| CPU for each, reading included | %.0f µs |\n", float64(with.cpu.Microseconds())/float64(manyTokens*len(with.took)))
	fmt.Printf("| heap for each | %.0f bytes |\n", (with.heap-without.heap)/manyTokens)
	return nil
}

// verification is what the tokens of one API server cost.
type verification struct {
	ready time.Duration // from the start
	heap  float64
	took  []time.Duration // by changes of the keys
	cpu   time.Duration   // of all of them
}

func (b *bench) verifying(ctx context.Context, secrets int) (v verification, err error) {
	dir, err := os.MkdirTemp("", "tokenward-bench-")
	if err != nil {
		return v, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	keys, err := newIssuer(secrets)
	if err != nil {
		return v, err
	}
	api, err := newFakeAPI(dir, holds{secrets: 1_000, tokens: keys})
	if err != nil {
		return v, err
	}
	defer api.Close()
	start := time.Now()
	server, err := b.start(ctx, "tokenward", api.kubeconfig, quiet)
	if err != nil {
		return v, err
	}
	v.ready = time.Since(start)
	if err := server.stop(); err != nil {
		return v, err
	}
	if server, err = b.start(ctx, "tokenward", api.kubeconfig, quiet, "--signing-key-refresh=1s", "--signing-key-settle="+keySettle.String()); err != nil {
		return v, err
	}
	defer func() { _ = server.stop() }()
	if _, err := server.verifiedAll(ctx, secrets); err != nil {
		return v, err
	}
	if v.heap, err = server.leastHeap(ctx, 10*time.Second); err != nil {
		return v, err
	}
	for i := 0; i < b.rounds && secrets > 0; i++ {
		took, cpu, err := server.changeKeys(ctx, keys)
		if err != nil {
			return v, err
		}
		v.took, v.cpu = append(v.took, took), v.cpu+cpu
	}
	return v, nil
}

// changeKeys publishes another key and returns how long it takes, from when the
// server is told of it, until all tokens have been verified by what it knows
// then, and the CPU time.
func (p *process) changeKeys(ctx context.Context, keys *issuer) (took, cpu time.Duration, err error) {
	before, err := p.verifiedAll(ctx, len(keys.secrets))
	if err != nil {
		return 0, 0, err
	}
	cpuBefore, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	if _, _, err := keys.publish(); err != nil {
		return 0, 0, err
	}
	for deadline := time.Now().Add(6 * verifyAim); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		n, err := p.metric(verified)
		if err != nil {
			return 0, 0, err
		}
		if n < before+float64(len(keys.secrets)) {
			continue
		}
		took = time.Since(*keys.published.Load().first.Load())
		cpu, err = p.cpu()
		return took, cpu - cpuBefore, err
	}
	return 0, 0, errors.New("the tokens are not verified again")
}

// verifiedAll waits until all tokens are verified, and nothing has been for so
// long that keys have settled. It returns how many were verified so far.
func (p *process) verifiedAll(ctx context.Context, secrets int) (float64, error) {
	last, since := 0., time.Now()
	for deadline := since.Add(2 * time.Minute); time.Now().Before(deadline); {
		n, err := p.metric(verified)
		if err != nil {
			n = 0 // there is no such series before the first
		}
		if n != last {
			last, since = n, time.Now()
		}
		if n >= float64(secrets) && time.Since(since) > keySettle+3*time.Second {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return 0, fmt.Errorf("%d tokens are not verified: %.0f were found good", secrets, last)
}
