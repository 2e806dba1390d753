package sim

import (
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// watch answers with a stream: the objects that there are, where that is asked
// for, and then each change that the server's watch cache shows.
func (s *server) watch(c *call) answer {
	from, initial := int64(0), false
	switch text := c.query("resourceVersion"); {
	case c.query("sendInitialEvents") == "true":
		if !s.world.plan.watchList {
			return status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
				cause("FieldValueForbidden", "sendInitialEvents", "forbidden"))
		}
		initial = true
		from = s.newest()
		if text == "0" {
			from = s.view()
		}
	case text == "":
		initial, from = true, s.newest()
	case text == "0":
		initial, from = true, s.view()
	default:
		from, _ = strconv.ParseInt(text, 10, 64)
		// A store that was restored may have no such version yet. We take it for
		// one that was restored with its revisions marked compacted.
		if s.tooOld(from) || from > s.newest() {
			return s.watchExpired(c)
		}
	}
	s.world.mu.Lock()
	stopped := s.stopped
	s.world.mu.Unlock()
	s.world.noteReader(c, from, !initial)
	w := &watching{server: s, call: c, position: from, stopped: stopped, initial: initial}
	return answer{code: http.StatusOK, stream: w.run}
}

func (s *server) newest() int64 {
	s.world.store.mu.Lock()
	defer s.world.store.mu.Unlock()
	return s.world.store.version
}

// watchExpired says 410 in one of the two ways in which API servers do.
func (s *server) watchExpired(c *call) answer {
	a := expired()
	if noise(s.world.seed, "410", c.resource, time.Now().UnixNano())%2 == 0 {
		return a
	}
	return answer{code: http.StatusOK, stream: func(send func([]byte) error) {
		_ = send(c.event("ERROR", c.statusBody(a.status)))
	}}
}

// watching is one watch under way.
type watching struct {
	server   *server
	call     *call
	position int64
	stopped  <-chan struct{} // the server went down
	initial  bool
}

func (w *watching) run(send func([]byte) error) {
	if w.initial && w.sendInitial(send) != nil {
		return
	}
	c, world := w.call, w.server.world
	end := time.Hour
	if seconds, err := strconv.Atoi(c.query("timeoutSeconds")); err == nil {
		end = time.Duration(seconds) * time.Second
	}
	ended := time.NewTimer(end)
	defer ended.Stop()
	bookmark := time.NewTicker(world.plan.bookmarks)
	defer bookmark.Stop()
	for {
		changed, wait, err := w.sendNew(send)
		if err != nil {
			return
		}
		wake := time.NewTimer(wait)
		select {
		case <-c.done:
			wake.Stop()
			return
		case <-w.stopped:
			wake.Stop()
			return
		case <-ended.C:
			wake.Stop()
			return
		case <-changed:
			// No two watches deliver at the same instant.
			time.Sleep(time.Duration(noise(world.seed, "deliver", c.from, c.resource, c.query("fieldSelector"), w.position) % 900_000))
		case <-world.faultsChanged():
		case <-wake.C:
		case <-bookmark.C:
			if c.query("allowWatchBookmarks") == "true" && !c.silent() && w.sendBookmark(send, nil) != nil {
				wake.Stop()
				return
			}
		}
		wake.Stop()
	}
}

func (w *watching) sendInitial(send func([]byte) error) error {
	for _, o := range selected(w.server.world.store.stateAt(w.position), w.call.resource, w.call.namespace) {
		if w.call.selects(o) {
			if err := w.send(send, "ADDED", o); err != nil {
				return err
			}
		}
	}
	if w.call.query("sendInitialEvents") == "true" {
		return w.sendBookmark(send, map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return nil
}

func (w *watching) send(send func([]byte) error, happened string, o *object) error {
	return send(w.call.event(happened, w.call.form(o)))
}

func (w *watching) sendBookmark(send func([]byte) error, annotations map[string]string) error {
	return send(w.call.event("BOOKMARK", w.call.bookmark(w.position, annotations)))
}

// sendNew sends what the watch cache shows beyond the position. It returns what
// is closed when there is more in the store, and how long until the cache has
// caught up with what is there.
func (w *watching) sendNew(send func([]byte) error) (<-chan struct{}, time.Duration, error) {
	const long = time.Hour
	view := w.server.view()
	w.server.world.mu.Lock()
	lag := w.server.lag
	w.server.world.mu.Unlock()
	st := w.server.world.store
	st.mu.Lock()
	changed, wait := st.changed, long
	var fresh []event
	for i := range st.events {
		switch e := &st.events[i]; {
		case e.version <= w.position:
		case e.version <= view:
			fresh = append(fresh, *e)
		default:
			wait = min(wait, max(time.Until(e.at.Add(lag)), 1))
		}
	}
	st.mu.Unlock()
	if w.call.silent() {
		return changed, long, nil
	}
	for i := range fresh {
		e := &fresh[i]
		if w.call.selects(e.object) {
			if err := w.send(send, e.kind, e.object); err != nil {
				return changed, wait, err
			}
		}
		w.position = e.version
	}
	if view > w.position {
		w.position = view
		w.server.world.noteReader(w.call, view, false)
	}
	return changed, wait, nil
}
