package token

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

type verifyCase struct {
	name string
	// payload is signed as usual, unless token is set.
	payload object
	token   string
	keys    func(*KeySetOptions)
	facts   func(*Facts)
	later   time.Duration
	want    Reason // "" is Valid
}

func signatureCases(t *testing.T) []verifyCase {
	legacy, id, other := legacyPayload(), public(t, rsaKey()).ID, public(t, otherKey()).ID
	good := usual(t, legacy)
	parts := strings.Split(good, ".")
	der, err := x509.MarshalPKIXPublicKey(rsaKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	none := encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	tampered := parts[0] + "." + encode(toJSON(with(legacy, object{"sub": "system:serviceaccount:shop:admin"}))) + "." + parts[2]
	byOther := sign(t, jose.RS256, otherKey(), other, legacy)
	oldByOther := sign(t, jose.RS256, otherKey(), "", legacy)
	unavailable := func(o *KeySetOptions) { o.Unavailable = true }
	partial := func(o *KeySetOptions) { o.Partial = true }
	unsettled := func(f *Facts) { f.SigningKey = NotKnown }
	elsewhere := func(f *Facts) { f.ServiceAccount.State = Absent }
	noKeys := func(o *KeySetOptions) { o.Keys = nil }
	return []verifyCase{
		{name: "a legacy token is valid"},
		{name: "a token without a key id is tried with every key", token: sign(t, jose.RS256, rsaKey(), "", legacy)},
		{name: "RS512 is as good", token: sign(t, jose.RS512, rsaKey(), id, legacy)},
		{name: "PS384 is as good", token: sign(t, jose.PS384, rsaKey(), id, legacy)},
		{name: "an EC key signs ES256", token: sign(t, jose.ES256, ecKey(), public(t, ecKey()).ID, legacy)},
		{name: "white space around the token is trimmed by every client", token: "\n " + good + "\r\n",
			facts: func(f *Facts) { f.Secret.TokenHash = sha256.Sum256([]byte(good)) }},
		{name: "an unsettled key set has keys that count", facts: unsettled},
		{name: "partial keys are keys", keys: partial},
		{name: "keys that could not be refreshed are keys", keys: unavailable},
		{name: "no algorithm", token: none, want: BadAlgorithm},
		{name: "no algorithm, and no keys either", token: none, keys: noKeys, want: BadAlgorithm},
		{name: "HMAC with the public key for a secret", token: sign(t, jose.HS256, der, id, legacy), want: BadAlgorithm},
		{name: "the payload was changed", token: tampered, want: BadSignature},
		{name: "the payload was changed, and the keys are partial", token: tampered, keys: partial, want: BadSignature},
		{name: "the signature is another's", token: parts[0] + "." + parts[1] + "." + strings.Split(byOther, ".")[2], want: BadSignature},
		{name: "the algorithm is not that of the key", token: sign(t, jose.ES256, ecKey(), id, legacy), want: BadSignature},
		{name: "a critical header that nobody understands", token: critical(t, legacy), want: BadSignature},
		{name: "no key id and no key that fits", token: oldByOther, want: BadSignature},
		{name: "no key id, no key that fits, unsettled", token: oldByOther, facts: unsettled, want: KeyUnsettled},
		{name: "no key id, no key that fits, partial", token: oldByOther, keys: partial, want: KeysPartial},
		{name: "no key id, no key that fits, unavailable", token: oldByOther, keys: unavailable, want: KeysUnavailable},
		{name: "a key that is gone", token: byOther, want: KeyGone},
		{name: "the signature fits a key, but not the one that is named", token: sign(t, jose.RS256, rsaKey(), other, legacy), want: KeyGone},
		{name: "a key that was not seen yet", token: byOther, facts: unsettled, want: KeyUnsettled},
		{name: "a key that is gone, and an account that is not there", token: byOther, facts: elsewhere, want: OtherCluster},
		{name: "the same in a token Secret, which is this cluster's", token: byOther, want: KeyGone,
			facts: func(f *Facts) { elsewhere(f); f.TokenSecret = true }},
		{name: "a key that is gone, and an account of another uid", token: byOther, want: OtherCluster,
			facts: func(f *Facts) { f.ServiceAccount.UID = "another" }},
		{name: "an unknown key, and an account that is not there", token: byOther, want: KeyUnsettled,
			facts: func(f *Facts) { elsewhere(f); unsettled(f) }},
		{name: "no key id, no key that fits, and an account that is not there", token: oldByOther, facts: elsewhere, want: OtherCluster},
		{name: "a bound token whose key is gone is of this cluster's issuer", token: sign(t, jose.RS256, otherKey(), other, boundPayload()), facts: elsewhere, want: KeyGone},
		{name: "a key that is perhaps not published", token: byOther, keys: partial, want: KeysPartial},
		{name: "a key that could perhaps not be fetched", token: byOther, keys: unavailable, want: KeysUnavailable},
		{name: "no keys at all", keys: noKeys, want: KeysUnavailable},
		{name: "a foreign issuer", payload: with(boundPayload(), object{"iss": "https://other"}), want: ForeignIssuer},
		{name: "a foreign issuer, and the signature fits nothing", want: ForeignIssuer,
			token: sign(t, jose.RS256, otherKey(), id, with(boundPayload(), object{"iss": "https://other"}))},
		{name: "no issuer", payload: with(boundPayload(), object{"iss": nil}), want: Incomplete},
		{name: "a foreign audience", payload: with(boundPayload(), object{"aud": "vault"}), want: ForeignAudience},
		{name: "one audience of several is enough", payload: with(boundPayload(), object{"aud": []string{"vault", issuer}})},
		{name: "no audience is the API server", payload: with(boundPayload(), object{"aud": []string{}})},
		{name: "a foreign audience, and the signature does not fit", want: BadSignature,
			token: sign(t, jose.RS256, otherKey(), id, with(boundPayload(), object{"aud": "vault"}))},
		{name: "a foreign audience, and the key was not seen yet", facts: unsettled, want: KeyUnsettled,
			token: sign(t, jose.RS256, otherKey(), other, with(boundPayload(), object{"aud": "vault"}))},
	}
}

// critical signs a token with a header that says that it must be understood.
func critical(t *testing.T, payload object) string {
	options := (&jose.SignerOptions{}).WithHeader("x", 1).WithCritical("x")
	return signWith(t, jose.SigningKey{Algorithm: jose.RS256, Key: rsaKey()}, options, payload)
}

func legacyCases() []verifyCase {
	legacy := legacyPayload()
	const claim = "kubernetes.io/serviceaccount/"
	return []verifyCase{
		{name: "no subject", payload: with(legacy, object{"sub": nil}), want: Incomplete},
		{name: "no namespace", payload: with(legacy, object{claim + "namespace": nil}), want: Incomplete},
		{name: "no Secret", payload: with(legacy, object{claim + "secret.name": nil}), want: Incomplete},
		{name: "no account", payload: with(legacy, object{claim + "service-account.name": nil}), want: Incomplete},
		{name: "no uid", payload: with(legacy, object{claim + "service-account.uid": nil}), want: Incomplete},
		{name: "nothing but an issuer", payload: object{"iss": LegacyIssuer}, want: Incomplete},
		{name: "claims of a wrong type", payload: with(legacy, object{claim + "namespace": 1}), want: Incomplete},
		{name: "the subject is in another namespace", payload: with(legacy, object{"sub": "system:serviceaccount:bank:runner"}), want: Contradictory},
		{name: "the subject is another account", payload: with(legacy, object{"sub": "system:serviceaccount:shop:admin"}), want: Contradictory},
		{name: "the subject is a person", payload: with(legacy, object{"sub": "runner"}), want: Contradictory},
		{name: "nobody looks at the times of a legacy token", payload: with(legacy, object{"exp": 1, "nbf": now.Unix() + 9000})},
		{name: "the Secret is gone", facts: func(f *Facts) { f.Secret = Secret{Object: Object{State: Absent}} }, want: SecretGone},
		{name: "the Secret is being deleted", facts: func(f *Facts) { f.Secret.Deleting = now }, want: SecretGone},
		{name: "the Secret holds another token", facts: func(f *Facts) { f.Secret.TokenHash = sha256.Sum256([]byte("x")) }, want: TokenReplaced},
		{name: "the Secret holds no token", facts: func(f *Facts) { f.Secret.TokenHash = sha256.Sum256(nil) }, want: TokenReplaced},
		{name: "the Secret's uid does not matter", facts: func(f *Facts) { f.Secret.UID = "another" }},
		{name: "the Secret was not looked up", facts: func(f *Facts) { f.Secret = Secret{} }, want: ObjectUnknown},
		{name: "the Secret's token was not read", facts: func(f *Facts) { f.Secret.TokenHash = [32]byte{} }, want: ObjectUnknown},
		{name: "the cleaner marked the Secret", facts: func(f *Facts) { f.Secret.InvalidSince = true }, want: MarkedInvalid},
		{name: "the account is gone", facts: func(f *Facts) { f.ServiceAccount = Object{State: Absent} }, want: AccountGone},
		{name: "the account is being deleted", facts: func(f *Facts) { f.ServiceAccount.Deleting = now }, want: AccountGone},
		{name: "the account was made anew", facts: func(f *Facts) { f.ServiceAccount.UID = "another" }, want: AccountReplaced},
		{name: "the account's uid is not known", facts: func(f *Facts) { f.ServiceAccount.UID = "" }, want: ObjectUnknown},
		{name: "the account is gone and the Secret was not looked up", want: AccountGone,
			facts: func(f *Facts) { f.ServiceAccount, f.Secret = Object{State: Absent}, Secret{} }},
		{name: "the account of a token Secret is gone, and the keys could not be fetched", want: AccountGone,
			keys:  func(o *KeySetOptions) { o.Keys = nil },
			facts: func(f *Facts) { f.TokenSecret, f.ServiceAccount.State = true, Absent }},
		{name: "neither the keys nor the objects are known", want: KeysUnavailable,
			keys:  func(o *KeySetOptions) { o.Keys = nil },
			facts: func(f *Facts) { *f = Facts{} }},
		{name: "issuers are not asked for", keys: func(o *KeySetOptions) { o.Issuers = nil }},
	}
}

func boundCases() []verifyCase {
	toSecret := boundTo(object{"pod": nil, "node": nil, "secret": object{"name": "s", "uid": "uid-of-secret"}})
	toNode := boundTo(object{"pod": nil})
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	return []verifyCase{
		{name: "a token bound to a pod is valid", payload: boundPayload()},
		{name: "a token bound to a Secret is valid", payload: toSecret},
		{name: "a token bound to a node is valid", payload: toNode},
		{name: "a token bound to nothing is valid", payload: boundTo(object{"pod": nil, "node": nil})},
		{name: "the hash does not matter", payload: toSecret, facts: func(f *Facts) { f.Secret.TokenHash = [32]byte{} }},
		{name: "the subject does not matter", payload: with(boundPayload(), object{"sub": "runner"})},
		{name: "just expired", payload: boundPayload(), later: 3030 * time.Second},
		{name: "expired a minute ago", payload: boundPayload(), later: 3060 * time.Second},
		{name: "expired more than a minute ago", payload: boundPayload(), later: 3061 * time.Second, want: Expired},
		{name: "expired in 1970", payload: with(boundPayload(), object{"exp": 0}), want: Expired},
		{name: "never expires", payload: with(boundPayload(), object{"exp": nil}), later: 1e6 * time.Hour},
		{name: "expired, and the keys could not be fetched", payload: boundPayload(), later: time.Hour, want: Expired,
			keys: func(o *KeySetOptions) { o.Keys = nil }},
		{name: "expired, and a foreign issuer", payload: with(boundPayload(), object{"iss": "https://other"}), later: time.Hour, want: Expired},
		{name: "not before soon", payload: with(boundPayload(), object{"nbf": now.Unix() + 60})},
		{name: "not before later", payload: with(boundPayload(), object{"nbf": now.Unix() + 61}), want: NotYetValid},
		{name: "issued in the future", payload: with(boundPayload(), object{"iat": now.Unix() + 61}), want: NotYetValid},
		{name: "issued in the future, and a foreign issuer", payload: with(boundPayload(), object{"iss": "https://other", "iat": now.Unix() + 61}), want: ForeignIssuer},
		{name: "no claims of Kubernetes", payload: with(boundPayload(), object{"kubernetes.io": nil}), want: Incomplete},
		{name: "claims of Kubernetes of a wrong type", payload: with(boundPayload(), object{"kubernetes.io": "x"}), want: Incomplete},
		{name: "no namespace", payload: boundTo(object{"namespace": nil}), want: Incomplete},
		{name: "no account", payload: boundTo(object{"serviceaccount": nil}), want: Incomplete},
		{name: "no uid of the account", payload: boundTo(object{"serviceaccount": object{"name": "runner"}}), want: AccountReplaced},
		{name: "a foreign audience, and the pod is gone", payload: with(boundPayload(), object{"aud": "vault"}),
			facts: func(f *Facts) { f.Pod.State = Absent }, want: PodGone},
		{name: "a foreign issuer, and the pod is gone", payload: with(boundPayload(), object{"iss": "https://other"}),
			facts: func(f *Facts) { f.Pod.State = Absent }, want: ForeignIssuer},
		{name: "the account is gone", payload: boundPayload(), facts: func(f *Facts) { f.ServiceAccount.State = Absent }, want: AccountGone},
		{name: "the account was deleted just now", payload: boundPayload(), facts: func(f *Facts) { f.ServiceAccount.Deleting = ago(time.Minute) }},
		{name: "the account was deleted some time ago", payload: boundPayload(), facts: func(f *Facts) { f.ServiceAccount.Deleting = ago(61 * time.Second) }, want: AccountGone},
		{name: "the account was made anew", payload: boundPayload(), facts: func(f *Facts) { f.ServiceAccount.UID = "another" }, want: AccountReplaced},
		{name: "the account was not looked up", payload: boundPayload(), facts: func(f *Facts) { f.ServiceAccount = Object{} }, want: ObjectUnknown},
		{name: "the pod is gone", payload: boundPayload(), facts: func(f *Facts) { f.Pod.State = Absent }, want: PodGone},
		{name: "the pod ends soon", payload: boundPayload(), facts: func(f *Facts) { f.Pod.Deleting = ago(-30 * time.Second) }},
		{name: "the pod should have ended", payload: boundPayload(), facts: func(f *Facts) { f.Pod.Deleting = ago(2 * time.Minute) }, want: PodGone},
		{name: "the pod was made anew", payload: boundPayload(), facts: func(f *Facts) { f.Pod.UID = "another" }, want: PodReplaced},
		{name: "the pod is gone and the account was not looked up", payload: boundPayload(), want: PodGone,
			facts: func(f *Facts) { f.Pod.State, f.ServiceAccount = Absent, Object{} }},
		{name: "a pod without a name", payload: boundTo(object{"pod": object{}}), want: PodGone},
		{name: "a pod's node does not matter", payload: boundPayload(), facts: func(f *Facts) { f.Node.State = Absent }},
		{name: "the Secret is gone", payload: toSecret, facts: func(f *Facts) { f.Secret.State = Absent }, want: SecretGone},
		{name: "the Secret was made anew", payload: toSecret, facts: func(f *Facts) { f.Secret.UID = "another" }, want: SecretReplaced},
		{name: "the node is gone", payload: toNode, facts: func(f *Facts) { f.Node.State = Absent }, want: NodeGone},
		{name: "the node was made anew", payload: toNode, facts: func(f *Facts) { f.Node.UID = "another" }, want: NodeReplaced},
		{name: "the node was not looked up", payload: toNode, facts: func(f *Facts) { f.Node = Object{} }, want: ObjectUnknown},
		{name: "bound to a webhook configuration", payload: boundTo(object{"pod": nil, "mutatingwebhookconfiguration": object{"name": "w"}}), want: OtherBinding},
		{name: "bound to a webhook configuration, and the account is gone", payload: boundTo(object{"pod": nil, "validatingwebhookconfiguration": object{"name": "w"}}),
			facts: func(f *Facts) { f.ServiceAccount.State = Absent }, want: AccountGone},
		{name: "a bound token of the legacy issuer, where that is listed", payload: with(boundPayload(), object{"iss": LegacyIssuer}),
			keys: func(o *KeySetOptions) { o.Issuers = append(o.Issuers, LegacyIssuer) }},
		{name: "a bound token of the legacy issuer", payload: with(boundPayload(), object{"iss": LegacyIssuer}), want: ForeignIssuer},
	}
}

func TestVerify(t *testing.T) {
	reached := map[Reason]bool{Malformed: true, Unusual: true} // by TestParseRefuses
	for _, c := range append(append(signatureCases(t), legacyCases()...), boundCases()...) {
		t.Run(c.name, func(t *testing.T) {
			raw := c.token
			if raw == "" && c.payload == nil {
				c.payload = legacyPayload()
			}
			if raw == "" {
				raw = usual(t, c.payload)
			}
			keys := KeySetOptions{Keys: []Key{public(t, rsaKey()), public(t, ecKey())}, Issuers: []string{issuer}}
			if c.keys != nil {
				c.keys(&keys)
			}
			f := allIsWell(raw)
			if c.facts != nil {
				c.facts(f)
			}
			token := parse(t, raw)
			got := Verify(token, NewKeySet(keys), f, now.Add(c.later))
			want := Result{Verdict: Valid}
			if c.want != "" {
				want = Result{c.want.Verdict(), c.want}
			}
			if got != want {
				t.Errorf("got %v (%s), want %v (%s)", got.Verdict, got.Reason, want.Verdict, want.Reason)
			}
			checked := Check(token, NewKeySet(keys))
			if kept := checked.Judge(f, now.Add(c.later)); kept != got {
				t.Errorf("what was kept is judged %v, the token %v", kept, got)
			}
			if sum := sumOf(Steps(token, NewKeySet(keys), f, now.Add(c.later))); sum != got {
				t.Errorf("the steps come to %v, the token is %v", sum, got.Verdict)
			}
			reached[got.Reason] = true
		})
	}
	for _, e := range explain() {
		if !reached[e.reason] {
			t.Errorf("no case is %s", e.reason)
		}
	}
}

// sumOf is what steps come to: the first that is invalid, else the first that is
// unknown.
func sumOf(steps []Step) Result {
	sum := Result{Verdict: Valid}
	for _, s := range steps {
		if s.Result.Verdict == Invalid {
			return s.Result
		}
		if sum.Verdict == Valid {
			sum = s.Result
		}
	}
	return sum
}

func TestStepsTellWhatIsWrong(t *testing.T) {
	keys := NewKeySet(KeySetOptions{Keys: []Key{public(t, rsaKey())}, Issuers: []string{issuer}})
	raw := usual(t, with(boundPayload(), object{"aud": "vault"}))
	f := allIsWell(raw)
	f.Pod.State = Absent
	want := []Step{
		{StepSignature, Result{Verdict: Valid}}, {StepIssuer, Result{Verdict: Valid}}, {StepAudience, result(ForeignAudience)},
		{StepTimes, Result{Verdict: Valid}}, {StepAccount, Result{Verdict: Valid}}, {StepPod, result(PodGone)},
	}
	if got := Steps(parse(t, raw), keys, f, now); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStepsThatMeanNothingAreLeftOut(t *testing.T) {
	keys := NewKeySet(KeySetOptions{Keys: []Key{public(t, rsaKey())}, Issuers: []string{issuer}})
	foreign := with(boundPayload(), object{"iss": "https://other"})
	for _, tt := range []struct {
		name, raw string
		want      []StepName
	}{
		{"nobody looks at the times of a legacy token", usual(t, legacyPayload()), []StepName{StepSignature, StepIssuer, StepSecret, StepAccount}},
		{"nobody looks for the objects of another cluster", usual(t, foreign), []StepName{StepSignature, StepIssuer, StepTimes}},
		{"nor if its algorithm is none", encode([]byte(`{"alg":"none"}`)) + "." + strings.Split(usual(t, foreign), ".")[1] + ".", []StepName{StepSignature, StepIssuer, StepTimes}},
		{"nobody looks for objects that a token does not name whole", usual(t, boundTo(object{"namespace": nil})),
			[]StepName{StepSignature, StepIssuer, StepAudience, StepTimes, StepClaims}},
		{"a token bound to a webhook configuration", usual(t, boundTo(object{"pod": nil, "node": nil, "mutatingwebhookconfiguration": object{"name": "w"}})),
			[]StepName{StepSignature, StepIssuer, StepAudience, StepTimes, StepAccount, StepBinding}},
	} {
		var got []StepName
		for _, s := range Steps(parse(t, tt.raw), keys, allIsWell(tt.raw), now) {
			got = append(got, s.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Who is asked for a token of another audience than the API server's looks for
// that one.
func TestAnotherAudience(t *testing.T) {
	keys := NewKeySet(KeySetOptions{Keys: []Key{public(t, rsaKey())}, Issuers: []string{issuer}})
	toVault, legacy := with(boundPayload(), object{"aud": "vault"}), legacyPayload()
	for _, tt := range []struct {
		name      string
		payload   object
		audiences []string
		want      Reason
	}{
		{"meant for it", toVault, []string{"vault"}, ""},
		{"meant for one of those", toVault, []string{"x", "vault"}, ""},
		{"meant for the API server", boundPayload(), []string{"vault"}, ForeignAudience},
		{"meant for the API server, by name", boundPayload(), []string{issuer}, ""},
		{"a legacy token is meant for the API server", legacy, []string{"vault"}, ForeignAudience},
		{"a legacy token, and the API server by name", legacy, []string{issuer}, ""},
	} {
		raw := usual(t, tt.payload)
		if got := Verify(parse(t, raw), keys.For(tt.audiences), allIsWell(raw), now); got.Reason != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got.Reason, tt.want)
		}
	}
}

func TestNothingKnownIsUnknown(t *testing.T) {
	token := parse(t, usual(t, legacyPayload()))
	if got, want := Verify(token, nil, nil, now), (Result{Unknown, KeysUnavailable}); got != want {
		t.Errorf("without keys and facts: %v, want %v", got, want)
	}
	keys := NewKeySet(KeySetOptions{Keys: []Key{public(t, rsaKey())}})
	if got, want := Verify(token, keys, nil, now), (Result{Unknown, ObjectUnknown}); got != want {
		t.Errorf("without facts: %v, want %v", got, want)
	}
	if got := (&Checked{Claims: token.Claims, Hash: token.Hash()}).Judge(allIsWell(usual(t, legacyPayload())), now); got != (Result{}) {
		t.Errorf("without a signature checked: %v", got)
	}
	if (Result{}).Verdict != Unknown {
		t.Error("the zero value of Result is not unknown")
	}
}

func TestReasonsAreExplained(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range explain() {
		if e.text == "" || seen[e.text] || seen[string(e.reason)] || e.reason.Verdict() == Valid {
			t.Errorf("%+v: without text, twice, or valid", e)
		}
		seen[e.text], seen[string(e.reason)] = true, true
	}
	if got := KeyGone.Text(); got != "its signing key is no longer accepted" {
		t.Errorf("KeyGone.Text() = %q", got)
	}
	if Reason("nonsense").Text() != "" || Reason("nonsense").Verdict() != Unknown {
		t.Error("a Reason that does not exist is explained")
	}
	for v, want := range map[Verdict]string{Unknown: "unknown", Valid: "valid", Invalid: "invalid"} {
		if v.String() != want {
			t.Errorf("%d is %q, want %q", v, v, want)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	token := parse(b, usual(b, legacyPayload()))
	keys := NewKeySet(KeySetOptions{Keys: []Key{public(b, rsaKey())}})
	for b.Loop() {
		Check(token, keys)
	}
}
