//go:debug randseednop=0
package sim

import (
	"flag"
	"fmt"
	"math/rand" //nolint:depguard // client-go takes its jitter from there
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "TestSeed: the seed to replay, with its trace")
	fromFlag  = flag.Uint64("from", 1, "TestSeeds: the first seed")
	seedsFlag = flag.Int("seeds", 100, "TestSeeds: how many seeds")
)

// play runs one seed in a bubble of its own. What is left in the bubble is a
// violation, too.
func play(t *testing.T, seed uint64) (out *result) {
	t.Helper()
	rand.Seed(int64(seed)) //nolint:staticcheck // so that Reflectors wait alike each time
	defer func() {
		if p := recover(); p != nil {
			if out == nil {
				out = &result{Seed: seed, trace: func() string { return "" }}
			}
			out.Violations = append(out.Violations, violation{"leftover", fmt.Sprint(p)})
		}
	}()
	synctest.Test(t, func(*testing.T) { out = run(seed) })
	return out
}

func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("no -seed")
	}
	runtime.GOMAXPROCS(1)
	r := play(t, *seedFlag)
	t.Log("\n" + r.trace())
	report(t, r)
}

func report(t *testing.T, r *result) {
	for _, v := range r.Violations {
		t.Errorf("seed %d: %s: %s", r.Seed, v.invariant, v.text)
	}
}

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	utilruntime.ErrorHandlers = nil // one of them remembers a time, across bubbles
	m.Run()
}

func TestSeeds(t *testing.T) {
	runtime.GOMAXPROCS(1)
	began := time.Now()
	reviews, requests, failing := 0, 0, 0
	faults := map[faultKind]int{}
	broken := map[string][]uint64{}
	var simulated time.Duration
	for i := range *seedsFlag {
		r := play(t, *fromFlag+uint64(i))
		reviews, requests, simulated = reviews+r.Reviews, requests+r.Requests, simulated+r.Simulated
		for k, n := range r.Faults {
			faults[k] += n
		}
		if len(r.Violations) > 0 {
			failing++
		}
		for _, v := range r.Violations {
			if s := broken[v.invariant]; len(s) == 0 || s[len(s)-1] != r.Seed {
				broken[v.invariant] = append(s, r.Seed)
			}
		}
	}
	var out strings.Builder
	for k, s := range broken {
		fmt.Fprintf(&out, "  %s: %d seeds, %v\n", k, len(s), s[:min(len(s), 10)])
	}
	t.Logf("%d seeds, %d failing, %d reviews, %d requests, %v, simulated %s, took %s\n%s", *seedsFlag, failing, reviews, requests, faults, simulated.Round(time.Second), time.Since(began).Round(time.Millisecond), out.String())
	if failing > 0 {
		t.Fail()
	}
}
