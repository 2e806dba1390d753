package upstream

import (
	"maps"
	"math/rand"
	"slices"
	"testing"
	"time"

	jose "gopkg.in/go-jose/go-jose.v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"tokenward.dev/tokenward/pkg/token"
)

// Whatever is put together from good and bad pieces, both judges say the same.
func TestVerdictsAgreeOnRandomTokens(t *testing.T) {
	b, random := newBench(t), rand.New(rand.NewSource(1))
	id, ecID := keyID(t, b.rsaKey.Public()), keyID(t, b.ecKey.Public())
	seen := map[token.Result]int{}
	const draws = 20_000
	for i := range draws {
		payload := b.randomClaims(random)
		var raw string
		switch random.Intn(20) {
		case 0:
			raw = sign(t, jose.ES256, b.ecKey, id, payload)
		case 1:
			raw = sign(t, jose.RS256, b.rsaKey, id, payload)
		case 2:
			raw = sign(t, jose.ES256, b.ecKey, "", payload)
		default:
			raw = sign(t, jose.ES256, b.ecKey, ecID, payload)
		}
		if random.Intn(10) == 0 { // one character of the token is another
			at := random.Intn(len(raw))
			raw = raw[:at] + string("AZaz09-_.=\n{"[random.Intn(12)]) + raw[at+1:]
		}
		w := b.world(raw)
		b.spoil(random, w)
		got, _ := agree(t, w, raw)
		seen[got]++
		if t.Failed() {
			t.Fatalf("draw %d: %s, %+v", i, raw, w)
		}
	}
	valid := seen[token.Result{Verdict: token.Valid}]
	if reasons := slices.Collect(maps.Keys(seen)); valid < draws/50 || valid > draws*9/10 || len(reasons) < 18 {
		t.Errorf("the tokens were one-sided: %v", seen)
	}
	t.Logf("%v", seen)
}

// randomClaims returns those of a good token with up to two of them changed.
func (b *bench) randomClaims(random *rand.Rand) claims {
	good := []claims{b.legacy(), b.bound("pod", "cart"), b.bound("secret", "secret"), b.bound("node", "node-1"), b.bound("", "")}[random.Intn(5)]
	now := b.start.Unix()
	values := []any{
		nil, nil, "", "shop", "bank", "runner", "secret", "uid-of-runner", issuer, "https://other", serviceaccount.LegacyIssuer, []string{"vault", issuer}, []string{}, 1, now - 300,
		now + 300, float64(now) + .5, true, claims{}, ref("runner"), ref("cart"), ref("secret"), "system:serviceaccount:shop:runner", "system:serviceaccount:shop:other",
	}
	change := func(c claims) claims {
		names := slices.Sorted(maps.Keys(c))
		return with(c, claims{names[random.Intn(len(names))]: values[random.Intn(len(values))]})
	}
	for range random.Intn(3) {
		if k, ok := good["kubernetes.io"].(claims); ok && len(k) > 0 && random.Intn(2) == 0 {
			good = with(good, claims{"kubernetes.io": change(k)})
		} else {
			good = change(good)
		}
	}
	return good
}

// spoil takes away or changes some objects.
func (b *bench) spoil(random *rand.Rand, w *world) {
	meta := func(m *metav1.ObjectMeta) (gone bool) {
		switch random.Intn(16) {
		case 0:
			return true
		case 1:
			m.UID = "x"
		case 2:
			m.DeletionTimestamp = &metav1.Time{Time: b.start.Add(time.Duration(random.Intn(20)-10) * 35 * time.Second)}
		case 3:
			m.Labels = map[string]string{serviceaccount.InvalidSinceLabelKey: "2026-01-01"}
		}
		return false
	}
	if meta(&w.account.ObjectMeta) {
		w.account = nil
	}
	if random.Intn(20) == 0 {
		w.secret.Data["token"] = append(w.secret.Data["token"], '\n')
	}
	if meta(&w.secret.ObjectMeta) {
		w.secret = nil
	}
	if meta(&w.pod.ObjectMeta) {
		w.pod = nil
	}
	if meta(&w.node.ObjectMeta) {
		w.node = nil
	}
}
