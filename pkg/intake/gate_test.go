package intake

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newGate() *Gate { return New(Limits{Bytes: DefaultBytes, Reviews: 4}) }

func enter(t *testing.T, g *Gate, body io.Reader, wait time.Duration) (*Visit, *http.Request) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", body)
	v, err := g.Enter(httptest.NewRecorder(), r, time.Now().Add(wait))
	if err != nil {
		t.Fatal(err)
	}
	return v, r
}

func reasonOf(err error) Reason {
	var refused *Refusal
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

func TestABodyArrivesWhole(t *testing.T) {
	for _, size := range []int{0, 1, firstBuffer - 1, firstBuffer, firstBuffer + 1, smallBody, smallBody + 1, 5 << 20, MaxBody - 1, MaxBody, MaxBody + 1} {
		for _, announced := range []bool{true, false} {
			want := bytes.Repeat([]byte("x"), size)
			g := newGate()
			v, r := enter(t, g, bytes.NewReader(want), time.Minute)
			if !announced {
				r.ContentLength = -1
			}
			got, err := v.Body(r)
			if size > MaxBody {
				if reasonOf(err) != TooLarge || len(got) == 0 {
					t.Errorf("%d bytes, announced %t: got %v and %d bytes", size, announced, err, len(got))
				}
			} else if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, announced %t: got %d, %v", size, announced, len(got), err)
			}
			v.Leave()
			if g.held != 0 || g.visits.Len() != 0 || !g.large.TryAcquire(1) {
				t.Errorf("%d bytes: something is still held: %d bytes, %d visits", size, g.held, g.visits.Len())
			}
		}
	}
}

// trickle gives a byte at a time, and then nothing until it is closed.
type trickle struct {
	bytes int
	ended chan struct{}
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.bytes == 0 {
		<-s.ended
		return 0, io.ErrUnexpectedEOF
	}
	s.bytes--
	p[0] = ' '
	return 1, nil
}

func TestWhatIsAnnouncedTakesNoMemory(t *testing.T) {
	g := newGate()
	slow := &trickle{bytes: 3, ended: make(chan struct{})}
	v, r := enter(t, g, slow, time.Minute)
	r.ContentLength = MaxBody
	done := make(chan error)
	go func() { _, err := v.Body(r); done <- err }()
	close(slow.ended)
	if err := <-done; reasonOf(err) != BrokenBody {
		t.Errorf("got %v", err)
	}
	if v.held > firstBuffer {
		t.Errorf("%d bytes are held for 3", v.held)
	}
	v.Leave()
}

func TestTheHeaviestMakesRoomForBytesAndTheOldestForVisits(t *testing.T) {
	g := newGate()
	var all []*Visit
	for range maxVisits {
		v, _ := enter(t, g, http.NoBody, time.Minute)
		all = append(all, v)
	}
	all[0].stage = judging // it is not cut off
	if _, _ = enter(t, g, http.NoBody, time.Minute); all[0].cut || !all[1].cut || all[2].cut {
		t.Error("the oldest that is not being judged should be cut off, and no other")
	}
	if err := all[7].hold(2 << 20); err != nil {
		t.Fatal(err)
	}
	for i := 10; i < 50; i++ {
		if err := all[i].hold(256 << 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := all[60].hold(15 << 20); reasonOf(err) != Busy {
		t.Errorf("the heaviest goes on: %v", err)
	}
	if all[7].cut {
		t.Error("one that was lighter is cut off")
	}
	if err := all[61].hold(3 << 20); err != nil || all[7].cut {
		t.Errorf("there was room: %v", err)
	}
	if err := all[62].hold(2 << 20); err != nil || !all[61].cut || all[7].cut {
		t.Errorf("the heaviest should make room: %v", err)
	}
	if err := all[61].hold(6 << 20); reasonOf(err) != Busy {
		t.Errorf("one that was cut off goes on: %v", err)
	}
}

func TestAFloodFromOneAddressEndsNoVisitFromAnother(t *testing.T) {
	g := newGate()
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	r.RemoteAddr = "10.0.0.1:1234"
	plain, err := g.Enter(httptest.NewRecorder(), r, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.hold(firstBuffer); err != nil {
		t.Fatal(err)
	}
	for range 3 * maxVisits {
		v, _ := enter(t, g, http.NoBody, time.Minute)
		if err := v.hold(firstBuffer / 2); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		v, _ := enter(t, g, http.NoBody, time.Minute)
		_ = v.hold(256 << 10)
	}
	if plain.cut || g.visits.Len() > maxVisits || g.held > g.limits.Bytes/6 {
		t.Errorf("cut off %t; %d visits hold %d bytes", plain.cut, g.visits.Len(), g.held)
	}
}

func TestReviewsWaitInTurnUntilTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var under []*Visit
		for range 4 {
			v, _ := enter(t, g, http.NoBody, time.Second)
			if err := v.Admit(100); err != nil {
				t.Fatal(err)
			}
			under = append(under, v)
		}
		start := time.Now()
		late, _ := enter(t, g, http.NoBody, time.Second)
		if err := late.Admit(100); reasonOf(err) != Busy || time.Since(start) != time.Second {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
		late.Leave()
		next, _ := enter(t, g, http.NoBody, time.Second)
		go func() { time.Sleep(time.Second / 2); under[0].Leave() }()
		if err := next.Admit(100); err != nil {
			t.Errorf("its turn had come: %v", err)
		}
	})
}

func TestSmallReviewsDoNotWaitForLargeOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		large, _ := enter(t, g, http.NoBody, time.Second)
		if err := large.Admit(40 << 20); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			v, _ := enter(t, g, http.NoBody, time.Second)
			go func() { _ = v.Admit(40 << 20); v.Leave() }()
		}
		synctest.Wait()
		start := time.Now()
		for _, weight := range []int64{100, smallWeight, mediumWeight} {
			v, _ := enter(t, g, http.NoBody, time.Second)
			if err := v.Admit(weight); err != nil || time.Since(start) > 0 {
				t.Errorf("weight %d: %v after %s", weight, err, time.Since(start))
			}
		}
		large.Leave()
		synctest.Wait()
	})
}

func TestAVisitEndsWithItsClient(t *testing.T) {
	g := New(Limits{Bytes: DefaultBytes, Reviews: 1})
	first, _ := enter(t, g, http.NoBody, time.Minute)
	if err := first.Admit(1); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	v, err := g.Enter(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", http.NoBody).WithContext(ctx), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	leave()
	if err := v.Admit(1); reasonOf(err) != Busy {
		t.Errorf("got %v", err)
	}
}

func TestTooManyHeaders(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	for range maxFields + 1 {
		r.Header.Add("A", "b")
	}
	if _, err := newGate().Enter(httptest.NewRecorder(), r, time.Now().Add(time.Second)); reasonOf(err) != TooManyHeaders {
		t.Errorf("got %v", err)
	}
}

func TestASlowBodyIsCutOff(t *testing.T) {
	g := newGate()
	result := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := g.Enter(w, r, time.Now().Add(50*time.Millisecond))
		if err == nil {
			defer v.Leave()
			_, err = v.Body(r)
		}
		result <- err
	}))
	defer server.Close()
	body, feed := io.Pipe()
	defer func() { _ = feed.Close() }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(feed, strings.NewReader("{")) }()
	if response, err := http.DefaultClient.Do(r); err == nil {
		_ = response.Body.Close()
	}
	if err := <-result; reasonOf(err) != TooSlow {
		t.Errorf("got %v", err)
	}
}
