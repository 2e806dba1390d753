package tokentext

import (
	"regexp"
	"strings"
)

// opaqueKinds are tokens that are no JWT, by what they start with.
//
//nolint:gochecknoglobals // constants
var opaqueKinds = []struct {
	pattern    *regexp.Regexp
	what, hint string
}{
	{regexp.MustCompile(`^k8s-aws-v1\.`), "a token of Amazon EKS", "it is a signed request to AWS, good for 15 minutes; aws eks get-token makes a new one"},
	{regexp.MustCompile(`^ya29\.`), "an access token of Google, as GKE takes it", "gke-gcloud-auth-plugin gets a new one"},
	{regexp.MustCompile(`^sha256~[A-Za-z0-9_-]{20,}$`), "an OAuth token of OpenShift", "oc whoami -t shows the current one; it is no service-account token"},
	{regexp.MustCompile(`^(?:kubeconfig-[a-z0-9-]+|token-[a-z0-9]{5}):[a-z0-9]{40,}$`), "a token of Rancher", "Rancher checks it, and not the API server behind it"},
	{regexp.MustCompile(`^(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{24,}$`), "a token of HashiCorp Vault", "Vault takes it, and no API server"},
	{regexp.MustCompile(`^(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}$`), "a token of GitHub", ""},
	{regexp.MustCompile(`^gl(?:pat|rt|dt)-[A-Za-z0-9_-]{20,}`), "a token of GitLab", ""},
	{bootstrap, "a bootstrap token", "nodes join a cluster with it; it has no claims"},
}

// vendorOf names a token that is no JWT; nil for what is not known.
func vendorOf(word string) *NotToken {
	for i := range opaqueKinds {
		if k := &opaqueKinds[i]; k.pattern.MatchString(word) {
			return &NotToken{What: k.what, Hint: k.hint}
		}
	}
	return nil
}

// encrypted recognises a JWE: five parts, and a header that names an encryption.
func encrypted(word string) *NotToken {
	parts := strings.Split(word, ".")
	if len(parts) != 5 || !completeJSON(parts[0]) {
		return nil
	}
	if inside, _ := unbase64(parts[0]); !strings.Contains(string(inside), `"enc"`) {
		return nil
	}
	return &NotToken{What: "an encrypted token (JWE)", Hint: "only who has its key can read it; service-account tokens are signed, and not encrypted"}
}
