package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/printable"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/tokentext"
)

// liveTimeout bounds the one request of --live.
const liveTimeout = 10 * time.Second

// answer is what an API server answers to a token.
type answer struct {
	Status int    `json:"status,omitempty"`
	User   string `json:"user,omitempty"`
	Text   string `json:"text"`
}

func (a *answer) verdict() token.Verdict {
	switch {
	case a.Status == http.StatusUnauthorized:
		return token.Invalid
	case a.Status == http.StatusForbidden || a.Status >= 200 && a.Status < 300:
		return token.Valid
	}
	return token.Unknown
}

// ask makes the request. Its answer is the API server's own word, and wins.
func (v *verified) ask(cmd *cobra.Command, config *rest.Config, f *tokentext.Found) {
	if !strings.HasPrefix(config.Host, "https://") {
		v.Live = &answer{Text: "not asked: the address of the API server is not https, so that anybody could read the token on its way"}
		return
	}
	text := "Making one request with this token."
	if f.Claims.Kind == token.Legacy {
		text += " If it is accepted, its Secret is marked as used (label kubernetes.io/legacy-token-last-used), and the cleaner of unused tokens waits anew."
	}
	for _, line := range wrapped(text, width) {
		cmd.PrintErrln(line)
	}
	v.Live = whoAmI(cmd.Context(), config, f.Raw())
	live := v.Live.verdict()
	switch {
	case live == token.Unknown || live.String() == v.Verdict:
		return
	case live == token.Valid:
		v.judged(token.Result{Verdict: token.Valid}, "", "")
	case v.Verdict == token.Valid.String():
		v.judged(token.Result{Verdict: token.Invalid}, "the API server refuses it, though nothing wrong can be seen from outside", "Look into the log of the API server: it says why it refuses a token.")
	default:
		v.Verdict = token.Invalid.String()
	}
}

// whoAmI asks an API server whose a token is.
func whoAmI(ctx context.Context, config *rest.Config, raw string) *answer {
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = raw
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return &answer{Text: "could not ask: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	var status apierrors.APIStatus
	switch {
	case err == nil:
		user := review.Status.UserInfo.Username
		return &answer{Status: http.StatusCreated, User: user, Text: "accepted: the API server says that this is " + printable.Name(user)}
	case apierrors.IsUnauthorized(err):
		return &answer{Status: http.StatusUnauthorized, Text: "401 Unauthorized: the token itself is refused. No Role or RoleBinding mends that."}
	case apierrors.IsForbidden(err):
		return &answer{Status: http.StatusForbidden, Text: "403 Forbidden: the token is good, and the API server knows whose it is; the account lacks the right to ask this. A RoleBinding mends that, not another token."}
	case errors.As(err, &status):
		return &answer{Status: int(status.Status().Code), Text: fmt.Sprintf("status %d, which says nothing of the token", status.Status().Code)}
	}
	return &answer{Text: "could not ask: " + err.Error()}
}
