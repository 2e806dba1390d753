package sim

import (
	"fmt"
	"maps"
	"time"
)

// put stores an object and lets the oracle look.
func (w *world) put(o *object) {
	w.store.put(o)
	w.trace("put %s version=%d uid=%s", o.id, o.version, o.uid[:8])
	w.observe()
}

func (w *world) remove(i id) {
	if w.store.remove(i) {
		w.trace("delete %s", i)
		w.observe()
	}
}

// change stores a copy of an object that a function changed.
func (w *world) change(i id, with func(*object)) {
	old := w.store.get(i)
	if old == nil {
		return
	}
	fresh := *old
	fresh.data, fresh.binaryData, fresh.labels = maps.Clone(old.data), maps.Clone(old.binaryData), maps.Clone(old.labels)
	with(&fresh)
	w.put(&fresh)
}

func (w *world) putAccount(ns, name string) {
	w.put(&object{id: id{"serviceaccounts", ns, name}, uid: w.newUID()})
}

func (w *world) putOpaque(ns, name string) {
	w.put(&object{id: id{"secrets", ns, name}, uid: w.newUID(), typ: "Opaque", data: map[string][]byte{
		"user": []byte("u"), "password": []byte("p"), "tls.key": []byte("k"),
	}})
}

func (w *world) putConfig(ns, name string) {
	w.put(&object{id: id{"configmaps", ns, name}, uid: w.newUID(),
		data:       map[string][]byte{"main.conf": []byte("x"), "ca.crt": []byte("y"), "blob": []byte("z")},
		binaryData: map[string][]byte{"bytes": {0}},
	})
}

// putTokenSecret makes the empty token Secret of an account.
func (w *world) putTokenSecret(ns, account string) {
	uid := ""
	if a := w.store.get(id{"serviceaccounts", ns, account}); a != nil {
		uid = a.uid
	}
	w.put(&object{id: id{"secrets", ns, account + "-token"}, uid: w.newUID(), typ: tokenSecretType, data: map[string][]byte{"namespace": []byte(ns)},
		annotations: map[string]string{accountNameKey: account, accountUIDKey: uid}})
}

// fill does the token controller's work on one Secret: a token if there is none,
// or no Secret if there is no such account any more.
func (w *world) fill(ns, name string) {
	i := id{"secrets", ns, name}
	o := w.store.get(i)
	if o == nil || o.typ != tokenSecretType {
		return
	}
	account := w.store.get(id{"serviceaccounts", ns, o.annotations[accountNameKey]})
	switch {
	case account == nil || account.uid != o.annotations[accountUIDKey]:
		w.remove(i)
	case len(o.data["token"]) == 0:
		w.mu.Lock()
		signer, ca := w.signer, w.rootCA
		w.mu.Unlock()
		text := w.mint(token{legacy: true, namespace: ns, account: account.name, accountUID: account.uid, secret: name}, signer, signer.id)
		w.trace("token by %s for %s", signer.name, i)
		w.change(i, func(o *object) { o.data["token"], o.data["ca.crt"] = []byte(text), ca.pem })
	}
}

func tokenCopies() []string { return []string{"copied", "bound", "foreign", "forged", "no-key-id"} }

// putCopy makes one of the Opaque Secrets that hold tokens.
func (w *world) putCopy(ns, name string) {
	w.mu.Lock()
	signer := w.signer
	w.mu.Unlock()
	var text string
	robot := w.store.get(id{"serviceaccounts", ns, "robot"})
	source := w.store.get(id{"secrets", ns, "robot-token"})
	if name != "foreign" && (robot == nil || source == nil) {
		return
	}
	switch name {
	case "copied":
		if text = string(source.data["token"]); text == "" {
			return
		}
	case "bound":
		text = w.mint(token{namespace: ns, account: "robot", accountUID: robot.uid, expires: time.Now().Add(w.plan.lifetime)}, signer, signer.id)
	case "foreign":
		foreign := keyRing()["foreign"]
		text = w.mint(token{foreign: true, legacy: true, namespace: "there", account: "robot", accountUID: "0f0e0d0c-0000-4000-8000-000000000001", secret: "t"}, foreign, foreign.id)
	case "forged":
		forger, as := keyRing()["forger"], signer.id
		if w.newUID()[7]%2 == 0 {
			as = forger.id
		}
		text = w.mint(token{legacy: true, namespace: ns, account: "robot", accountUID: robot.uid, secret: "robot-token"}, forger, as)
	case "no-key-id":
		// An old token, which names no key: its own Secret holds it, too.
		text = w.mint(token{legacy: true, namespace: ns, account: "robot", accountUID: robot.uid, secret: "no-key-id"}, signer, "")
	}
	i := id{"secrets", ns, name}
	o := &object{id: i, uid: w.newUID(), typ: "Opaque", data: map[string][]byte{"token": []byte(text), "note": fmt.Append(nil, time.Now())}}
	if name == "no-key-id" {
		o.typ, o.annotations = tokenSecretType, map[string]string{accountNameKey: "robot", accountUIDKey: robot.uid}
	}
	if old := w.store.get(i); old != nil && old.typ == o.typ {
		o.uid = old.uid
	}
	w.put(o)
}
