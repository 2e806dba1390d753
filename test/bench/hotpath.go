package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// strict refuses the review whose Secret is missing.
const strict = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: bench}, spec: {checks: [{name: secret-exists, action: Deny}]}}`

const clients = 4

// sample is what a measurement of one server brought.
type sample struct {
	reviews    int
	took, cpu  time.Duration
	mallocs    float64
	latencies  []time.Duration
	unexpected int
}

func (s *sample) add(o sample) {
	s.reviews += o.reviews
	s.took += o.took
	s.cpu += o.cpu
	s.mallocs += o.mallocs
	s.latencies = append(s.latencies, o.latencies...)
	s.unexpected += o.unexpected
}

func (s *sample) cpuPerReview() float64 { return float64(s.cpu.Microseconds()) / float64(s.reviews) }
func (s *sample) perSecond() float64    { return float64(s.reviews) / s.took.Seconds() }
func (s *sample) allocs() float64       { return s.mallocs / float64(s.reviews) }

func (s *sample) quantile(q float64) time.Duration {
	slices.Sort(s.latencies)
	return s.latencies[int(q*float64(len(s.latencies)-1))]
}

// printBeside prints a row: what was measured, and beside another sample.
func (s *sample) printBeside(first *sample, what string) error {
	if s.unexpected > 0 {
		return fmt.Errorf("%s: %d of %d answers are wrong", what, s.unexpected, s.reviews)
	}
	fmt.Printf("| %s | %s | %s | %.0f µs | %.0f | %.2f | %.2f |\n", what, s.quantile(.5).Round(time.Microsecond), s.quantile(.99).Round(time.Microsecond),
		s.cpuPerReview(), s.allocs(), float64(s.quantile(.5))/float64(first.quantile(.5)), s.cpuPerReview()/first.cpuPerReview())
	return nil
}

// measure loads one server for some time.
func measure(ctx context.Context, p *process, http2 bool, body []byte, want string, span time.Duration) (sample, error) {
	client := p.client(http2)
	defer client.CloseIdleConnections()
	// Connections first: a handshake is no review.
	if _, _, err := post(ctx, client, p.url(), body); err != nil {
		return sample{}, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	mallocs, err := p.metric("go_memstats_mallocs_total")
	if err != nil {
		return sample{}, err
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	var s sample
	var failed error
	start := time.Now()
	for range clients {
		group.Go(func() {
			var own sample
			for time.Since(start) < span {
				sent := time.Now()
				_, answer, err := post(ctx, client, p.url(), body)
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				own.latencies = append(own.latencies, time.Since(sent))
				own.reviews++
				if !strings.Contains(string(answer), want) {
					own.unexpected++
				}
			}
			mu.Lock()
			s.add(own)
			mu.Unlock()
		})
	}
	group.Wait()
	s.took = time.Since(start)
	after, err := p.cpu()
	s.cpu = after - cpu
	mallocsAfter, metricErr := p.metric("go_memstats_mallocs_total")
	s.mallocs = mallocsAfter - mallocs
	return s, errors.Join(failed, err, metricErr)
}

// hotPath compares the three servers, in turn, by protocol and verdict.
func (b *bench) hotPath(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tokenward-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	api, err := newFakeAPI(dir, holds{secrets: 1_000})
	if err != nil {
		return err
	}
	defer api.Close()
	var servers []*process
	for _, name := range []string{"bare", "runtime", "tokenward"} {
		p, err := b.start(ctx, name, api.kubeconfig, strict)
		if err != nil {
			return err
		}
		defer func() { _ = p.stop() }()
		servers = append(servers, p)
	}
	fmt.Printf("One review over TLS, %d clients, 12 KB bodies; CPU is the server's own\n\n", clients)
	fmt.Println("| protocol | body | server | reviews/s | p50 | p99 | CPU/review | allocations | CPU, times the no-op of controller-runtime |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, http2 := range []bool{false, true} {
		for _, verdict := range []string{"allow", "deny"} {
			samples := map[string]*sample{"bare": {}, "runtime": {}, "tokenward": {}}
			for range b.rounds {
				for _, p := range servers {
					body, want := allowBody(), `"allowed":true`
					if verdict == "deny" {
						body = denyBody()
						if p.name == "tokenward" {
							want = `"allowed":false`
						}
					}
					s, err := measure(ctx, p, http2, body, want, b.round)
					if err != nil {
						return err
					}
					samples[p.name].add(s)
				}
			}
			for _, p := range servers {
				s := samples[p.name]
				if s.unexpected > 0 {
					return fmt.Errorf("%s, %s: %d of %d answers are wrong", p.name, verdict, s.unexpected, s.reviews)
				}
				fmt.Printf("| %s | %s | %s | %.0f | %s | %s | %.0f µs | %.0f | %.2f |\n", protocol(http2), verdict, p.name, s.perSecond(),
					s.quantile(.5).Round(time.Microsecond), s.quantile(.99).Round(time.Microsecond), s.cpuPerReview(), s.allocs(),
					s.cpuPerReview()/samples["runtime"].cpuPerReview())
			}
		}
	}
	return nil
}

func protocol(http2 bool) string {
	if http2 {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

// growth shows that a review costs the same whatever the number of Secrets.
func (b *bench) growth(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tokenward-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	counts := []int{1_000, 10_000, 100_000}
	servers := make([]*process, len(counts))
	for i, n := range counts {
		api, err := newFakeAPI(dir, holds{secrets: n})
		if err != nil {
			return err
		}
		defer api.Close()
		if servers[i], err = b.start(ctx, "tokenward", api.kubeconfig, strict); err != nil {
			return err
		}
		defer func() { _ = servers[i].stop() }()
	}
	samples := make([]sample, len(counts))
	for range b.rounds {
		for i, p := range servers {
			s, err := measure(ctx, p, false, allowBody(), `"allowed":true`, b.round)
			if err != nil {
				return err
			}
			samples[i].add(s)
		}
	}
	fmt.Print("The same by the number of Secrets (HTTP/1.1, allow)\n\n| Secrets | CPU/review | p99 | CPU, times that at 1,000 |\n|---|---|---|---|\n")
	for i, n := range counts {
		s := &samples[i]
		fmt.Printf("| %d | %.1f µs | %s | %.2f |\n", n, s.cpuPerReview(), s.quantile(.99).Round(time.Microsecond), s.cpuPerReview()/samples[0].cpuPerReview())
	}
	return nil
}
