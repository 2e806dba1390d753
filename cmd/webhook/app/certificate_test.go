package app

import (
	"strings"
	"testing"
	"time"
)

func TestFlagsOfTheCertificateThatCannotBeUsed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string // empty: they can be used
	}{
		{"self-signed in a cluster", func(*Options) {}, ""},
		{"a certificate from files", func(o *Options) { o.SelfSigned, o.CertDir = false, "/tls" }, ""},
		{"self-signed over manifests, with a directory for ca.crt", func(o *Options) { o.ClusterState, o.CertDir = ".", "/tls" }, ""},
		{"neither", func(o *Options) { o.SelfSigned = false }, "--cert-dir: give a directory with tls.crt and tls.key, or --self-signed"},
		{"both, in a cluster", func(o *Options) { o.CertDir = "/tls" }, "--cert-dir: is not used with --self-signed in a cluster: give one of the two"},
		{"no namespace", func(o *Options) { o.PodNamespace = "a.b" }, `--pod-namespace: "a.b": `},
		{"no name of a Service", func(o *Options) { o.ServiceName = "1st" }, `--service-name: "1st": `},
		{"no name of a Secret", func(o *Options) { o.ServingSecret = "A" }, `--serving-secret: "A": `},
		{"no name of a configuration", func(o *Options) { o.WebhookConfiguration = "" }, `--webhook-configuration: "": `},
		{"a life too short to renew in", func(o *Options) { o.ServingCertLifetime = time.Second }, "--serving-cert-lifetime: 1s is less than 10s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := NewOptions()
			o.SelfSigned = true
			c.change(o)
			err := o.Validate()
			if c.want == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
			} else if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
