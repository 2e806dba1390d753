package trust

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"tokenward.dev/tokenward/pkg/facts"
)

// Record is where the replicas of a webhook share their history, so that one which
// has just started answers as the others do. It holds public facts alone, and
// nothing in it is a reason to accept a token.
type Record interface {
	// Load returns what was saved last, nil if nothing was, and its version. The
	// error is the API server's.
	Load(ctx context.Context) (data []byte, version string, err error)
	// Save replaces what was loaded in a version; it fails if another came first.
	Save(ctx context.Context, data []byte, version string) error
}

// recorded is the content of a Record, as JSON.
type recorded struct {
	// Keys that were published, by id and the SHA-256 of the public key.
	Keys []recordedKey `json:"keys,omitempty"`
	// Certificates that API servers presented, by the SHA-256 of the leaf.
	Certificates []recordedChain `json:"certificates,omitempty"`
	// Met are key ids of tokens that were never published.
	Met []recordedMet `json:"met,omitempty"`
}

type recordedKey struct {
	ID     string    `json:"id,omitempty"`
	SHA256 string    `json:"sha256"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

type recordedChain struct {
	recordedKey
	// Chain is what was presented, DER, the leaf first; empty where it is too large.
	Chain [][]byte `json:"chain,omitempty"`
}

type recordedMet struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	First     time.Time `json:"first"`
	// Refreshes that lacked it since, up to the number that counts.
	Refreshes int `json:"refreshes,omitempty"`
}

// syncRecord takes over what other replicas have learned, and tells them what they
// do not know. It returns whether the record has been read, or can't be.
func (f *Follower) syncRecord(ctx context.Context) bool {
	if f.options.Record == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	data, version, err := f.options.Record.Load(ctx)
	if err != nil {
		f.recordLog.failed(err, "What the replicas know of signing keys can't be shared; see that the ConfigMap is there and may be read and updated")
		return apierrors.IsNotFound(err) || apierrors.IsForbidden(err)
	}
	var known recorded
	if err := json.Unmarshal(data, &known); err != nil && len(data) > 0 {
		known = recorded{} // somebody wrote into it; it is written anew
	}
	f.mu.Lock()
	now := f.now()
	f.history.merge(&known, now)
	var news []byte
	if f.history.hasNews(&known) {
		news, err = json.Marshal(f.history.recorded())
	}
	changed := f.conclude(now)
	f.mu.Unlock()
	if changed {
		f.onChange()
	}
	if err == nil && news != nil {
		err = f.options.Record.Save(ctx, news, version)
	}
	if apierrors.IsConflict(err) {
		err = nil // another replica came first; what is still news is saved next time
	}
	f.recordLog.failed(err, "What this replica has learned of signing keys could not be shared")
	return true
}

// merge takes over what a record says.
func (h *history) merge(r *recorded, now time.Time) {
	for _, k := range r.Keys {
		name := k.ID + " " + k.SHA256
		if h.keys[name] == nil {
			if len(h.keys) >= maxPublished {
				continue
			}
			h.keys[name] = &publishedKey{id: k.ID, sum: k.SHA256, first: k.First}
		}
		h.met.forget(k.ID) // as where a refresh of this replica shows it
		mine := h.keys[name]
		mine.first, mine.elsewhere = earlier(mine.first, k.First), later(mine.elsewhere, notAfter(k.Last, now))
	}
	for i := range r.Certificates {
		h.mergeChain(&r.Certificates[i], now)
	}
	for _, k := range r.Met {
		if !slices.ContainsFunc(slices.Collect(maps.Values(h.keys)), func(p *publishedKey) bool { return p.id == k.ID }) {
			h.met.merge(&k)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// notAfter keeps another's clock that is ahead from making a key immortal.
func notAfter(t, now time.Time) time.Time { return earlier(t, now) }

// recorded returns what there is to share.
func (h *history) recorded() *recorded {
	r := &recorded{}
	for _, name := range slices.Sorted(maps.Keys(h.keys)) {
		k := h.keys[name]
		r.Keys = append(r.Keys, recordedKey{ID: k.id, SHA256: k.sum, First: k.first.UTC(), Last: later(k.last, k.elsewhere).UTC()})
	}
	for _, name := range slices.Sorted(maps.Keys(h.chains)) {
		c := h.chains[name]
		known := recordedKey{SHA256: name, First: c.first.UTC(), Last: c.seen().UTC()}
		r.Certificates = append(r.Certificates, recordedChain{known, c.shared()})
	}
	for _, id := range slices.Sorted(maps.Keys(h.met.ids)) {
		k := h.met.ids[id]
		r.Met = append(r.Met, recordedMet{ID: id, Namespace: k.namespace, First: k.first.UTC(), Refreshes: k.refreshes})
	}
	return r
}

// hasNews reports whether a record lacks something that others must know: a key
// or a certificate that is new, that the last refresh lacked, or that was not
// noted as seen for half of the time to settle; an id that was met, or has been
// lacked often enough.
func (h *history) hasNews(r *recorded) bool {
	stale := func(noted, last time.Time) bool {
		return last.Sub(noted) >= h.settle/2 || (last.After(noted) && last.Before(h.last))
	}
	for _, k := range h.keys {
		at := slices.IndexFunc(r.Keys, func(known recordedKey) bool { return known.ID == k.id && known.SHA256 == k.sum })
		if at < 0 || stale(r.Keys[at].Last, k.last) {
			return true
		}
	}
	for sum, c := range h.chains {
		at := slices.IndexFunc(r.Certificates, func(known recordedChain) bool { return known.SHA256 == sum })
		if at < 0 || stale(r.Certificates[at].Last, c.last) || (len(r.Certificates[at].Chain) == 0 && len(c.shared()) > 0) {
			return true
		}
	}
	known := make(map[string]int, len(r.Met))
	for i := range r.Met {
		known[r.Met[i].ID] = r.Met[i].Refreshes
	}
	for id, k := range h.met.ids {
		if refreshes, ok := known[id]; !ok || (k.refreshes == leastRefreshes && refreshes < leastRefreshes) {
			return true
		}
	}
	return len(known) > len(h.met.ids)
}

// failureLog logs a failure unless it is the last one again.
type failureLog struct {
	last  string
	error func(err error, message string, keysAndValues ...any)
}

func (l *failureLog) failed(err error, message string) {
	if apierrors.IsUnauthorized(err) {
		return // it is our own token, of which package owntoken speaks
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != l.last && err != nil {
		l.error(err, message)
	}
	l.last = text
}

// verdicts returns which ids are known to be gone, and whether that is all, as one
// text to compare.
func (h *history) verdicts(now time.Time) string {
	var gone []string
	for _, k := range h.keys {
		gone = append(gone, k.id)
	}
	gone = slices.AppendSeq(gone, maps.Keys(h.met.ids))
	slices.Sort(gone)
	gone = slices.DeleteFunc(slices.Compact(gone), func(id string) bool { return h.key(id, now) != facts.Absent })
	return strings.Join(append(gone, strconv.FormatBool(h.isSettled(now))), "\n")
}
