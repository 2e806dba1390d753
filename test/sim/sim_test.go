//go:debug randseednop=0
package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "TestSeed: the seed to replay, with its trace")
	fromFlag   = flag.Uint64("from", 1, "TestSeeds: the first seed")
	seedsFlag  = flag.Int("seeds", 1000, "TestSeeds: how many seeds")
	digestFlag = flag.Bool("digest", false, "TestWorker: put the trace into a digest")
	workerFlag = flag.String("worker", "", "TestWorker: the seeds to play, for TestSeeds")
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	utilruntime.ErrorHandlers = nil // one of them remembers a time, across bubbles
	m.Run()
}

// alone sees to it that a seed plays alike each time: one thread, and jitter that
// the seed decides.
func alone() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(1000)
}

// play runs one seed in a bubble of its own. What is left in the bubble at the
// end is a violation, too.
func play(t *testing.T, seed uint64) (out *result) {
	t.Helper()
	rand.Seed(int64(seed)) //nolint:staticcheck // Reflectors take their jitter from there
	began, before := cpu(), stacks()
	defer func() {
		if p := recover(); p != nil {
			if out == nil {
				out = &result{Seed: seed, trace: func() string { return "" }}
			}
			out.Violations = append(out.Violations, violation{"leftover", fmt.Sprintf("%v: %v", p, leftovers(before))})
		}
		out.CPU = cpu() - began
	}()
	synctest.Test(t, func(*testing.T) { out = run(seed) })
	return out
}

// stacks are those of all goroutines.
func stacks() []string {
	text := make([]byte, 4<<20)
	return strings.Split(string(text[:runtime.Stack(text, true)]), "\n\n")
}

// leftovers are the functions that goroutines of a bubble wait in which has ended.
func leftovers(before []string) []string {
	known := map[string]bool{}
	for _, s := range before {
		known[goroutineID(s)] = true
	}
	var found []string
	for _, s := range stacks() {
		if lines := strings.Split(s, "\n"); strings.Contains(lines[0], "synctest bubble") && !known[goroutineID(s)] {
			var frames []string
			for i := 1; i < len(lines) && len(frames) < 3; i += 2 {
				frames = append(frames, lines[i])
			}
			found = append(found, strings.Join(frames, " < "))
		}
	}
	return found
}

func goroutineID(stack string) string {
	id, _, _ := strings.Cut(stack, " [")
	return id
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestSeed replays one seed and shows what happened.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("-seed names none")
	}
	alone()
	r := play(t, *seedFlag)
	t.Log("\n" + r.trace())
	judge(t, []*result{r})
}

// TestWorker plays seeds for TestSeeds, and writes each result as a line of JSON.
func TestWorker(t *testing.T) {
	if *workerFlag == "" {
		t.Skip("for TestSeeds")
	}
	alone()
	for text := range strings.SplitSeq(*workerFlag, ",") {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		r := play(t, seed)
		if *digestFlag {
			r.digest()
		}
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s%s\n", resultMark, line)
	}
}

const resultMark = "result: "

// batch is how many seeds a process plays.
const batch = 25

// playAll plays seeds in processes of their own, as many at a time as there are
// processors.
func playAll(t *testing.T, program string, seeds []uint64, flags ...string) []*result {
	t.Helper()
	var mu sync.Mutex
	var all []*result
	var group sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for chunk := range slices.Chunk(seeds, batch) {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			for len(chunk) > 0 {
				played := playChunk(t, program, chunk, flags)
				mu.Lock()
				all = append(all, played...)
				mu.Unlock()
				chunk = chunk[len(played):]
			}
		})
	}
	group.Wait()
	slices.SortFunc(all, func(a, b *result) int { return int(a.Seed) - int(b.Seed) })
	return all
}

// playChunk plays seeds in one process, until one of them ends it.
func playChunk(t *testing.T, program string, seeds []uint64, flags []string) []*result {
	names := make([]string, len(seeds))
	for i, s := range seeds {
		names[i] = strconv.FormatUint(s, 10)
	}
	flags = append([]string{"-test.run=^TestWorker$", "-test.timeout=5m", "-worker=" + strings.Join(names, ",")}, flags...)
	command := exec.CommandContext(t.Context(), program, flags...)
	text, err := command.CombinedOutput()
	var played []*result
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		if line, ok := strings.CutPrefix(scan.Text(), resultMark); ok {
			r := &result{}
			if json.Unmarshal([]byte(line), r) == nil {
				played = append(played, r)
			}
		}
	}
	if err != nil && len(played) < len(seeds) {
		crashed := &result{Seed: seeds[len(played)]}
		crashed.Violations = []violation{{"crash", err.Error() + "\n" + string(text[:min(len(text), 3000)])}}
		played = append(played, crashed)
	}
	return played
}

// TestSeeds plays many seeds and sums up.
func TestSeeds(t *testing.T) {
	n := *seedsFlag
	if testing.Short() {
		n = min(n, 50)
	}
	seeds := make([]uint64, n)
	for i := range seeds {
		seeds[i] = *fromFlag + uint64(i)
	}
	began := time.Now()
	results := playAll(t, self(t), seeds)
	judge(t, results)
	t.Log("\n" + summary(results, time.Since(began)))
}

// TestRegressions replays the seeds that failed once.
func TestRegressions(t *testing.T) {
	text, err := os.ReadFile("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	var seeds []uint64
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		seed, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds.txt: %v", err)
		}
		seeds = append(seeds, seed)
	}
	judge(t, playAll(t, self(t), seeds))
}

// TestReplay plays seeds twice: what a seed decides is the same each time.
func TestReplay(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	first, second := playAll(t, self(t), seeds, "-digest"), playAll(t, self(t), seeds, "-digest")
	for i := range first {
		if first[i].Digest != second[i].Digest {
			t.Errorf("seed %d went otherwise the second time: %s, %s", first[i].Seed, first[i].Digest, second[i].Digest)
		}
	}
}

func self(t *testing.T) string {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// judge fails for each violation that is not of a defect that is known.
func judge(t *testing.T, results []*result) {
	t.Helper()
	shown := map[string]int{}
	for _, r := range results {
		for _, v := range r.Violations {
			if known(v.Invariant) != "" {
				continue
			}
			if shown[v.Invariant]++; shown[v.Invariant] <= 3 {
				t.Errorf("seed %d: %s: %s\n\treplay: go test ./test/sim -run 'TestSeed$' -v -seed %d", r.Seed, v.Invariant, v.Text, r.Seed)
			}
		}
	}
}

// summary is what came of many seeds.
func summary(results []*result, took time.Duration) string {
	var out strings.Builder
	reviews, requests, failing := 0, 0, 0
	faults, verdicts, broken := map[faultKind]int{}, map[string]int{}, map[string][]uint64{}
	var simulated, used time.Duration
	for _, r := range results {
		reviews, requests, simulated, used = reviews+r.Reviews, requests+r.Requests, simulated+r.Simulated, used+r.CPU
		for k, n := range r.Faults {
			faults[k] += n
		}
		for k, n := range r.Verdicts {
			verdicts[k] += n
		}
		fails := false
		for _, v := range r.Violations {
			fails = fails || known(v.Invariant) == ""
			if s := broken[v.Invariant]; !slices.Contains(s, r.Seed) {
				broken[v.Invariant] = append(s, r.Seed)
			}
		}
		if fails {
			failing++
		}
	}
	fmt.Fprintf(&out, "seeds       %d, %d of them failing\n", len(results), failing)
	fmt.Fprintf(&out, "reviews     %d", reviews)
	for _, k := range slices.Sorted(maps.Keys(verdicts)) {
		fmt.Fprintf(&out, ", %d %s", verdicts[k], k)
	}
	fmt.Fprintf(&out, "\nrequests    %d to API servers\nfaults     ", requests)
	for _, k := range slices.Sorted(maps.Keys(faults)) {
		fmt.Fprintf(&out, " %d %s;", faults[k], k)
	}
	fmt.Fprintf(&out, "\nsimulated   %s, in %s, with %s of CPU\n", simulated.Round(time.Second), took.Round(100*time.Millisecond), used.Round(100*time.Millisecond))
	for _, k := range slices.Sorted(maps.Keys(broken)) {
		why := known(k)
		if why != "" {
			why = " (known: " + why + ")"
		}
		fmt.Fprintf(&out, "broken      %s%s: %d seeds, such as %v\n", k, why, len(broken[k]), broken[k][:min(len(broken[k]), 5)])
	}
	return out.String()
}
