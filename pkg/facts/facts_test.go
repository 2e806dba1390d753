package facts

import (
	"testing"

	"tokenward.dev/tokenward/pkg/reference"
)

func secret(name string) Object {
	return Object{Kind: reference.Secret, Namespace: "shop", Name: name}
}

func TestWhatNobodyWroteDownIsUnknown(t *testing.T) {
	var set Set
	f := set.Get(secret("db"))
	if f.State != Unknown || f.Why != NoReason || f.Key("user") != Unknown {
		t.Errorf("got %+v", f)
	}
}

func TestAnAbsentObjectHasNoKeys(t *testing.T) {
	f := Fact{State: Absent}
	if f.Key("user") != Absent {
		t.Errorf("got %s", f.Key("user"))
	}
}

func TestKeysOfSeveralAnswersAddUp(t *testing.T) {
	var set Set
	set.Put(secret("db"), Fact{State: Present, Keys: map[string]State{"a": Present}})
	set.Put(secret("db"), Fact{State: Present, Keys: map[string]State{"b": Absent}})
	f := set.Get(secret("db"))
	if f.Key("a") != Present || f.Key("b") != Absent || f.Key("c") != Unknown {
		t.Errorf("got %+v", f)
	}
	set.Put(secret("db"), Fact{State: Absent})
	if f := set.Get(secret("db")); f.Key("a") != Absent {
		t.Errorf("a later answer replaces the earlier one: got %+v", f)
	}
}

func TestCollectAsksOnceForEachObjectWithAllItsKeys(t *testing.T) {
	var asked []Query
	queries := []Query{{Object: secret("db")}, {Object: secret("db"), Keys: []string{"a"}}, {Object: secret("x")}, {Object: secret("db"), Keys: []string{"b", "a"}}}
	Collect(func(*Set) []Query { return queries }, func(open []Query, set *Set) {
		asked = append(asked, open...)
		for _, q := range open {
			set.Put(q.Object, Fact{State: Present, Keys: map[string]State{"a": Present, "b": Present}})
		}
	})
	if len(asked) != 2 || len(asked[0].Keys) != 2 {
		t.Errorf("asked %+v", asked)
	}
	if len(queries[1].Keys) != 1 {
		t.Errorf("the caller's query was changed: %+v", queries[1])
	}
}

func TestCollectPutsDownAsUnknownWhatNobodyAnswers(t *testing.T) {
	rounds := 0
	set := Collect(func(*Set) []Query {
		return []Query{{Object: secret("db")}, {Object: secret("half"), Keys: []string{"a", "b"}}}
	}, func(_ []Query, set *Set) {
		rounds++
		set.Put(secret("half"), Fact{State: Present, Keys: map[string]State{"a": Present}})
	})
	half := set.Get(secret("half"))
	if rounds != 1 || set.Get(secret("db")).Why != Failed || half.Key("a") != Present || half.Key("b") != Unknown {
		t.Errorf("after %d rounds: %+v, %+v", rounds, set.Get(secret("db")), half)
	}
}

func TestCollectEndsThoughMoreAndMoreIsAsked(t *testing.T) {
	rounds := 0
	Collect(func(*Set) []Query {
		rounds++
		return []Query{{Object: secret(string(rune('a' + rounds)))}}
	}, func(open []Query, set *Set) { set.Put(open[0].Object, Fact{State: Present}) })
	if rounds != maxRounds {
		t.Errorf("got %d rounds", rounds)
	}
}
