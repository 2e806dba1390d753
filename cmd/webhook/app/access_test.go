package app

import (
	"context"
	"errors"
	"testing"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestWhoMayReadSecretsIsAskedOnceForAWhile(t *testing.T) {
	client := fake.NewClientset()
	var asked []authorizationv1.SubjectAccessReviewSpec
	var fail error
	client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review, _ := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		asked = append(asked, review.Spec)
		review.Status.Allowed = review.Spec.User == "jane" && review.Spec.ResourceAttributes.Namespace == "shop"
		return true, review, fail
	})
	a := newAccessReviews(client, logr.Discard())
	jane := &authenticationv1.UserInfo{Username: "jane", Groups: []string{"developers"}, Extra: map[string]authenticationv1.ExtraValue{"scopes": {"all"}}}
	may := func(user *authenticationv1.UserInfo, namespace string, want bool, questions int) {
		t.Helper()
		if got := a.MayReadSecrets(t.Context(), user, namespace); got != want || len(asked) != questions {
			t.Errorf("got %t after %d questions, want %t after %d", got, len(asked), want, questions)
		}
	}
	may(jane, "shop", true, 1)
	may(jane, "shop", true, 1)
	if s := asked[0]; s.Groups[0] != "developers" || s.Extra["scopes"][0] != "all" || s.ResourceAttributes.Verb != "get" || s.ResourceAttributes.Resource != "secrets" {
		t.Errorf("asked %+v", s)
	}
	may(jane, "bank", false, 2)
	may(&authenticationv1.UserInfo{Username: "jane", Groups: []string{"others"}}, "shop", true, 3)
	may(&authenticationv1.UserInfo{Username: "eve"}, "shop", false, 4)
	may(&authenticationv1.UserInfo{Username: "eve"}, "shop", false, 4)
	fail = errors.New("no answer")
	may(jane, "office", false, 5)
	fail = nil
	may(jane, "office", false, 6) // an error is not kept
	gone, leave := context.WithCancel(t.Context())
	leave()
	if a.MayReadSecrets(gone, &authenticationv1.UserInfo{Username: "new"}, "shop") {
		t.Error("yes for a client that has gone")
	}
}
