package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

func tokenCACurrent() Check {
	c := tokenCheck{id: "token-ca-current", judge: func(_ *Input, u tokenUse) *fault {
		if !u.secret.TokenSecret || !u.secret.HasCA || !u.brings(caKey) {
			return nil
		}
		switch u.secret.CA {
		case facts.Absent:
			return wrong(func(func(string) string) string {
				return "has a ca.crt that does not verify the API server: calls fail. " +
					"See that the controller manager runs with the new --root-ca-file."
			}).after(facts.Object{Kind: facts.ServingCertificate, Name: "kubernetes"})
		case facts.Unknown:
			return &fault{state: facts.Unknown, looks: []facts.Object{{Kind: facts.ServingCertificate, Name: "kubernetes"}}, text: func(func(string) string) string {
				return "has a ca.crt that could not be compared with the API server's certificate."
			}}
		case facts.Present:
		}
		return nil
	}}
	return Check{
		ID:      c.id,
		Title:   "a token Secret whose `ca.crt` does not verify the certificate that the API server presents",
		Default: v1alpha1.Audit,
		Impact:  Impact{Effect: BreaksInUse, Severity: High, Category: Tokens, Waiting: WaitingMayHeal, UsesTrust: true},
		Problem: `After the certificates of a cluster were regenerated, clients that go by the old ` + "`ca.crt`" + ` fail before they send their
token: ` + "`x509: certificate signed by unknown authority`" + `. Tokenward compares with the chain that the API server presents
to itself. Over manifests it compares with the namespace's ConfigMap ` + "`kube-root-ca.crt`" + `, where that is given.`,
		Remedy: `The token controller writes the current CA into every token Secret when it runs with ` + "`--root-ca-file`" + `: see that the
kube-controller-manager was restarted with the new one. Then restart the pods.`,
		ReadsSecrets: true,
		Needs:        c.needs,
		Find:         c.find,
	}
}
