// Package crd has the CustomResourceDefinition of TokenPolicy, for the programs that
// explain it. It imports nothing of ours.
package crd

import _ "embed" // for the file below

//go:embed tokenward.dev_tokenpolicies.yaml
var tokenPolicies []byte

// TokenPolicies returns the CustomResourceDefinition as YAML.
func TokenPolicies() []byte { return tokenPolicies }
