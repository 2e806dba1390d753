// Package modules pins the modules whose Helm charts the tests render. It is a Go
// module of its own, so that their dependencies stay out of ours; of the modules
// only the charts are read.
package modules

// Named, so that "go mod tidy" keeps the modules: the smallest package of each.
import (
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	_ "github.com/cert-manager/trust-manager/pkg/apis/trust"
	_ "github.com/external-secrets/external-secrets/cmd/esoctl/generator"
	_ "github.com/kyverno/kyverno/ext/output/pluralize"
	_ "github.com/open-policy-agent/gatekeeper/v3/pkg/wildcard"
	_ "sigs.k8s.io/metrics-server/pkg/utils"
)
