package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// serveCommand runs one of the servers that Tokenward is compared with.
func serveCommand() *cobra.Command {
	var port, metrics int
	var certDir string
	c := &cobra.Command{
		Use: "serve bare|runtime", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			logf.SetLogger(logr.Discard())
			go func() {
				mux := http.NewServeMux()
				mux.Handle("/metrics", promhttp.Handler())
				server := &http.Server{Addr: "127.0.0.1:" + strconv.Itoa(metrics), Handler: mux, ReadHeaderTimeout: time.Second}
				_ = server.ListenAndServe()
			}()
			if args[0] == "bare" {
				return serveBare(cmd.Context(), port, certDir)
			}
			return serveRuntime(cmd.Context(), port, certDir)
		},
	}
	c.Flags().IntVar(&port, "port", 0, "")
	c.Flags().IntVar(&metrics, "metrics", 0, "")
	c.Flags().StringVar(&certDir, "cert-dir", "", "")
	return c
}

const allowed = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"`

// serveBare reads the body and answers; it looks only for the uid.
func serveBare(ctx context.Context, port int, certDir string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/validate/pods", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, allowed+uidOf(body)+`","allowed":true}}`)
	})
	server := &http.Server{
		Addr: "127.0.0.1:" + strconv.Itoa(port), Handler: mux, ReadHeaderTimeout: time.Second,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServeTLS(certDir+"/tls.crt", certDir+"/tls.key"); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// uidOf finds the uid of the request near the start of the body.
func uidOf(body []byte) string {
	const key = `"uid":"`
	for i := 0; i+len(key) < len(body); i++ {
		if string(body[i:i+len(key)]) == key {
			rest := body[i+len(key):]
			for j, c := range rest {
				if c == '"' {
					return string(rest[:j])
				}
			}
		}
	}
	return ""
}

// serveRuntime decodes the pod with controller-runtime and allows it.
func serveRuntime(ctx context.Context, port int, certDir string) error {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return err
	}
	decoder := admission.NewDecoder(scheme)
	server := webhook.NewServer(webhook.Options{
		Host: "127.0.0.1", Port: port, CertDir: certDir,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }},
	})
	server.Register("/validate/pods", &admission.Webhook{Handler: admission.HandlerFunc(func(_ context.Context, r admission.Request) admission.Response {
		var pod corev1.Pod
		if err := decoder.Decode(r, &pod); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		return admission.Allowed("")
	})})
	return server.Start(ctx)
}
