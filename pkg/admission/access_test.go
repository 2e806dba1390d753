package admission

import (
	"context"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/source"
)

// asked lets one user read Secrets, and counts the questions.
type asked struct {
	questions int
	user      string
}

func (a *asked) MayReadSecrets(_ context.Context, user *authenticationv1.UserInfo, namespace string) bool {
	a.questions++
	return user.Username == a.user && namespace == "shop"
}

func TestNamesOfTokenSecretsAreForWhoMayReadThem(t *testing.T) {
	cluster := &manifest.Cluster{}
	const there = `{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {namespace: shop, name: robot-token-new, annotations: {kubernetes.io/service-account.name: robot}}}`
	if err := cluster.Read("c", []byte(there)); err != nil {
		t.Fatal(err)
	}
	const (
		named  = `The account's token is now in \"robot-token-new\"`
		hidden = `kubectl get secrets`
	)
	review := func(user, secret string) string {
		return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"version":"v1","kind":"Pod"},"namespace":"shop","operation":"CREATE","userInfo":{"username":"` + user +
			`"},"object":{"spec":{"serviceAccountName":"robot","volumes":[{"name":"v","secret":{"secretName":"` + secret + `"}}],"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}}}}`
	}
	tests := []struct {
		name, user, secret, want, never string
		access                          *asked
		questions                       int
	}{
		{"who may read Secrets is told", "jane", "robot-token-old", named, hidden, &asked{user: "jane"}, 1},
		{"who may not is told how to look", "eve", "robot-token-old", hidden, "robot-token-new", &asked{user: "jane"}, 1},
		{"where nobody can be asked, nobody is told", "jane", "robot-token-old", hidden, "robot-token-new", nil, 0},
		{"nobody is asked for a Secret of another name", "jane", "other", "Create it, or correct the name.", "robot-token-new", &asked{user: "jane"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHandler(t)
			h.Source = sourceFunc(func(_ context.Context, needs func(*facts.Set) []facts.Query) *facts.Set {
				return source.Answer(cluster, time.Time{}, needs)
			})
			if tt.access != nil {
				h.Access = tt.access
			}
			got := post(h, strings.NewReader(review(tt.user, tt.secret))).Body.String()
			if !strings.Contains(got, tt.want) || strings.Contains(got, tt.never) {
				t.Errorf("got %s", got)
			}
			if tt.access != nil && tt.access.questions != tt.questions {
				t.Errorf("%d questions, want %d", tt.access.questions, tt.questions)
			}
		})
	}
}
