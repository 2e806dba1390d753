package sim

import (
	"slices"
	"time"
)

// action is something that happens in the world.
type action struct {
	weight int
	do     func()
}

func (w *world) actions() []action {
	all := []action{
		{20, w.reviewSomething},
		{8, w.toggleObject},
		{5, w.toggleKey},
		{4, w.recreateObject},
		{3, w.makeMidway},
		{5, w.reissue},
		{4, w.renewCopy},
		{3, w.replaceAccount},
		{1, w.markInvalid},
		{1, w.flood},
	}
	if w.plan.rotations {
		all = append(all, action{2, w.rotate}, action{1, w.rotateCA})
	}
	if w.plan.faults {
		all = append(all, action{6, func() { w.addFault(w.randomFault()) }}, action{1, w.compactStore}, action{2, w.dropWatches}, action{2, w.lagBehind})
	}
	if w.plan.restores {
		all = append(all, action{1, w.backUp}, action{1, w.restoreBackup})
	}
	if w.plan.restarts {
		all = append(all, action{1, w.restartServer}, action{1, w.restartReplica})
	}
	return all
}

// act lets one thing happen.
func (w *world) act(all []action) {
	total := 0
	for _, a := range all {
		total += a.weight
	}
	n := w.random.IntN(total)
	for _, a := range all {
		if n -= a.weight; n < 0 {
			a.do()
			return
		}
	}
}

func (w *world) someReplica() *replica { return pick(w.random, w.replicas) }

func (w *world) reviewSomething() {
	for range 1 + w.random.IntN(3) {
		if p := pick(w.random, w.pods); p.padding == 0 || w.random.chance(30) {
			w.askSoon(p, w.someReplica())
		}
	}
}

// reviewUsers sends reviews of pods that use an object, at once.
func (w *world) reviewUsers(i id) {
	for _, p := range w.pods {
		uses := p.namespace == i.namespace && slices.ContainsFunc(p.refs, func(r ref) bool { return r.resource == i.resource && r.name == i.name })
		if uses && w.random.chance(60) {
			w.askSoon(p, w.someReplica())
		}
	}
}

func (w *world) someObject() id {
	ns := pick(w.random, namespaces())
	if w.random.chance(30) {
		return id{"configmaps", ns, pick(w.random, []string{"conf", "kube-root-ca.crt"})}
	}
	return id{"secrets", ns, pick(w.random, []string{"db", "api", "cert"})}
}

// make makes an object anew.
func (w *world) make(i id) {
	if i.resource == "configmaps" {
		w.putConfig(i.namespace, i.name)
	} else {
		w.putOpaque(i.namespace, i.name)
	}
}

func (w *world) toggleObject() {
	i := w.someObject()
	if w.store.get(i) != nil {
		w.remove(i)
	} else {
		w.make(i)
	}
	w.reviewUsers(i)
}

func (w *world) recreateObject() {
	i := w.someObject()
	w.remove(i)
	if w.random.chance(50) {
		time.Sleep(w.random.between(time.Millisecond, 50*time.Millisecond))
	}
	w.make(i)
	if w.random.chance(50) {
		w.change(i, func(o *object) { delete(o.data, pick(w.random, []string{"password", "main.conf"})) })
	}
	w.reviewUsers(i)
}

// makeMidway makes an object while a review that misses it is under way, and sends
// another one at once.
func (w *world) makeMidway() {
	i, to := w.someObject(), w.someReplica()
	w.remove(i)
	users := slices.DeleteFunc(slices.Clone(w.pods), func(p *podCase) bool {
		return p.namespace != i.namespace || !slices.ContainsFunc(p.refs, func(r ref) bool { return r.name == i.name })
	})
	time.Sleep(w.random.between(time.Millisecond, 500*time.Millisecond))
	w.askSoon(pick(w.random, users), to)
	time.Sleep(w.random.between(100*time.Microsecond, 8*time.Millisecond))
	w.make(i)
	w.askSoon(pick(w.random, users), to)
}

func (w *world) toggleKey() {
	i := w.someObject()
	key := pick(w.random, []string{"user", "password", "tls.key"})
	if i.resource == "configmaps" {
		key = pick(w.random, []string{"main.conf", "ca.crt", "blob"})
	}
	w.change(i, func(o *object) {
		switch _, there := o.data[key]; {
		case !there:
			delete(o.binaryData, key)
			o.data[key] = []byte("v")
		case key == "blob":
			delete(o.data, key)
			o.binaryData[key] = []byte("v")
		default:
			delete(o.data, key)
		}
	})
	w.reviewUsers(i)
}

// reissue removes data.token, as our messages advise, or makes the Secret where
// there is none; soon there is a new token, and pods are created at once.
func (w *world) reissue() {
	ns, account := pick(w.random, namespaces()), pick(w.random, []string{"robot", "ghost"})
	i := id{"secrets", ns, account + "-token"}
	if w.store.get(i) == nil {
		w.putTokenSecret(ns, account)
	} else {
		w.change(i, func(o *object) { delete(o.data, "token"); delete(o.labels, invalidSinceKey) })
	}
	users := slices.DeleteFunc(slices.Clone(w.pods), func(p *podCase) bool {
		return p.namespace != ns || !slices.ContainsFunc(p.refs, func(r ref) bool { return r.name == i.name })
	})
	first, second, to := pick(w.random, users), pick(w.random, users), w.someReplica()
	again := w.random.between(time.Millisecond, w.plan.refresh)
	w.after(w.random.between(20*time.Millisecond, 500*time.Millisecond), func() {
		w.fill(ns, i.name)
		w.askSoon(first, to)
		w.after(again, func() { w.ask(second, to) })
	})
}

func (w *world) renewCopy() {
	ns, name := pick(w.random, namespaces()), pick(w.random, tokenCopies())
	if name == "forged" && w.random.chance(50) {
		w.newUID() // forge otherwise
	}
	w.putCopy(ns, name)
	w.reviewUsers(id{"secrets", ns, name})
}

// replaceAccount deletes an account, or makes it anew. The token controller
// deletes the token Secrets of the old one.
func (w *world) replaceAccount() {
	ns, account := pick(w.random, namespaces()), pick(w.random, []string{"robot", "ghost"})
	i := id{"serviceaccounts", ns, account}
	if w.store.get(i) == nil || w.random.chance(40) {
		w.remove(i)
		w.putAccount(ns, account)
	} else {
		w.remove(i)
	}
	w.reviewUsers(id{"secrets", ns, account + "-token"})
	w.after(w.random.between(50*time.Millisecond, 2*time.Second), func() { w.fill(ns, account+"-token") })
}

func (w *world) markInvalid() {
	ns := pick(w.random, namespaces())
	w.change(id{"secrets", ns, "ghost-token"}, func(o *object) {
		if o.labels == nil {
			o.labels = map[string]string{}
		}
		o.labels[invalidSinceKey] = "1999-12-31"
	})
}

// flood sends many reviews at once for things that are not there, and one that is
// to be answered all the same.
func (w *world) flood() {
	ns, to := pick(w.random, namespaces()), w.someReplica()
	p := &podCase{name: "flood", namespace: ns, account: "default", padding: 16}
	for range 5 {
		w.askSoon(p, to)
	}
	w.askSoon(pick(w.random, w.pods), to)
}
