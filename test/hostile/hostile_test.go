package hostile

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"
)

// row is one attack.
type row struct {
	name string
	run  func(t *testing.T, x *target)
	// within is how long it may take; a second if zero.
	within time.Duration
	// above is how many MiB more than at rest it may take; defaultAbove if zero.
	above int
	// cpu is how much of the webhook's time it may take, others included; any if zero.
	cpu time.Duration
}

const (
	// slack is for machines that have much else to do: what is bounded is that it ends.
	slack        = 8
	defaultAbove = 160
	leastRows    = 150
)

func TestHostileInputs(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes two minutes")
	}
	a := newAPI(t)
	for _, ns := range []string{"shop", "bank", "flood"} {
		a.put("namespaces", "", ns, object{"metadata": object{"labels": object{"kubernetes.io/metadata.name": ns}}})
		a.put("serviceaccounts", ns, "default", object{})
		a.put("secrets", ns, "db", object{"data": object{"password": []byte("x")}, "type": "Opaque"})
	}
	a.putToken("shop", "forbidden", a.token(t, "shop", "forbidden"))
	x := start(t, a, policies)
	all := slices.Concat(references(), waysRound(), updates(), sizes(), floods(), connections(), streams(), tokens(), keys(), reviewedPolicies())
	if len(all) < leastRows {
		t.Errorf("there are %d rows, want %d", len(all), leastRows)
	}
	time.Sleep(500 * time.Millisecond)
	quiet := measure(t.Context(), x, 2*time.Second)
	ctx, stop := context.WithCancel(t.Context())
	meanwhile := make(chan latencies)
	go func() { meanwhile <- measure(ctx, x, time.Hour) }()
	for _, r := range all {
		t.Run(r.name, func(t *testing.T) { x.attack(t, r) })
	}
	stop()
	during := <-meanwhile
	t.Logf("plain reviews: quiet %s; meanwhile %s; %d attacks", quiet, during, len(all))
	if during.failed > 0 {
		t.Errorf("%d of %d plain reviews were not answered, or not allowed: %s", during.failed, len(during.took), during.firstFailure)
	}
	// What the machine itself takes for a timer says how busy it is.
	if bound := 250*time.Millisecond + 10*during.timer(99); during.at(99) > bound {
		t.Errorf("plain reviews took %s at p99, want %s", during.at(99), bound)
	}
}

func (x *target) attack(t *testing.T, r row) {
	x.alive(t)
	pid := x.command.Process.Pid
	rest := statusOf(itoa(pid), "VmRSS:")
	x.peak()
	begin, cpu := time.Now(), x.cpu()
	r.run(t, x)
	took, used, peak := time.Since(begin), x.cpu()-cpu, x.peak()
	if os.Getenv("HOSTILE_TABLE") != "" {
		t.Logf("%-60s %8s %8s CPU %4d MiB at rest, %4d at most", r.name, took.Round(time.Millisecond), used, rest, peak)
	}
	within := max(r.within, time.Second)
	if took > slack*within {
		t.Errorf("it took %s, want %s", took, within)
	}
	if r.cpu > 0 && used > slack*r.cpu {
		t.Errorf("it took %s of CPU, want %s", used, r.cpu)
	}
	above := r.above
	if above == 0 {
		above = defaultAbove
	}
	if peak-rest > above || peak > memoryLimit>>20 {
		t.Errorf("%d MiB at most, %d at rest: want at most %d more", peak, rest, above)
	}
	x.alive(t)
}

// latencies are how long plain reviews took, and what failed.
type latencies struct {
	took, timers []time.Duration
	failed       int
	firstFailure string
}

func (l *latencies) at(percent int) time.Duration { return percentile(l.took, percent) }

// timer is how much later than asked for a timer fires.
func (l *latencies) timer(percent int) time.Duration { return percentile(l.timers, percent) }

func percentile(of []time.Duration, percent int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Clone(of)
	slices.Sort(sorted)
	return sorted[len(sorted)*percent/100]
}

// String implements fmt.Stringer.
func (l latencies) String() string {
	return itoa(len(l.took)) + " reviews, p50 " + l.at(50).String() + ", p99 " + l.at(99).String() + ", timers " + l.timer(99).String()
}

// measure sends plain reviews until a time is over, or the context ends.
func measure(ctx context.Context, x *target, d time.Duration) latencies {
	var l latencies
	client := x.clientOf("127.0.0.2") // where the API server is, and no attacker
	defer client.CloseIdleConnections()
	body := review{namespace: benignNamespace, pod: plainPod}.body()
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		begin := time.Now()
		time.Sleep(20 * time.Millisecond)
		l.timers = append(l.timers, time.Since(begin)-20*time.Millisecond)
		begin = time.Now()
		v, err := post(context.WithoutCancel(ctx), client, "https://"+x.addr+validatePods+"?timeout=10s", body)
		l.took = append(l.took, time.Since(begin))
		if err != nil || !v.allowed {
			if l.failed++; l.firstFailure == "" {
				l.firstFailure = v.String()
				if err != nil {
					l.firstFailure = err.Error()
				}
			}
		}
	}
	return l
}
