// Command examples shows Tokenward without a cluster. It runs the webhook in
// embedded mode with the manifests in this directory, sends the example pods
// over TLS as an API server does, and prints the verdicts.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/cmd/program"
	"tokenward.dev/tokenward/cmd/webhook/app"
)

func main() {
	os.Exit(program.Execute(command()))
}

func command() *cobra.Command {
	var once bool
	dir := "examples"
	c := &cobra.Command{
		Use: "examples", Short: "Judge the example pods", Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return runExamples(cmd.Context(), dir, once) },
	}
	c.Flags().BoolVar(&once, "once", once, "exit after the examples instead of serving on")
	c.Flags().StringVar(&dir, "dir", dir, "directory of the examples")
	return c
}

// runExamples runs the server, sends the examples, and serves until the context ends.
func runExamples(ctx context.Context, dir string, once bool) (err error) {
	work, err := os.MkdirTemp("", "tokenward-examples-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	port, err := freePort()
	if err != nil {
		return err
	}
	options := app.NewOptions()
	options.ClusterState = filepath.Join(dir, "cluster")
	options.PolicyFile = filepath.Join(dir, "policy.yaml")
	options.Keys.Files = []string{filepath.Join(dir, "keys", "current.pub")}
	options.SelfSigned, options.CertDir = true, work
	options.WebhookHost, options.WebhookPort = "127.0.0.1", port
	options.MetricsAddr, options.HealthAddr, options.ShutdownDelay = "0", "0", 0
	options.LogFormat, options.LogLevel = "console", "error"
	server, err := app.New(options, os.Stderr)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- server.Run(serving) }()

	url := "https://127.0.0.1:" + strconv.Itoa(port) + "/validate/pods"
	if err := sendAll(ctx, url, dir, work); err != nil {
		return err
	}
	if !once && ctx.Err() == nil {
		fmt.Printf("Serving on until Ctrl-C. To send a review yourself:\n\n  curl --cacert %s -H 'Content-Type: application/json' \\\n    --data @%s \\\n    %s\n",
			filepath.Join(work, "ca.crt"), filepath.Join(work, "2-old-name.json"), url)
		select {
		case <-ctx.Done():
		case err := <-stopped:
			return err
		}
	}
	stop()
	return <-stopped
}

func sendAll(ctx context.Context, url, dir, work string) error {
	ca, err := os.ReadFile(filepath.Join(work, "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	pods, err := filepath.Glob(filepath.Join(dir, "pods", "*.yaml"))
	if err != nil || len(pods) == 0 {
		return fmt.Errorf("no example pods in %s", dir)
	}
	fmt.Printf("\nTokenward judges %d pods over TLS, as an API server would ask it to.\n\n", len(pods))
	for _, path := range pods {
		name, review, err := newReview(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		saved := filepath.Join(work, strings.TrimSuffix(filepath.Base(path), ".yaml")+".json")
		if err := os.WriteFile(saved, review, 0o600); err != nil {
			return err
		}
		response, err := send(ctx, client, url, review)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		printVerdict(path, name, response)
	}
	return nil
}

// newReview returns the AdmissionReview that an API server would send for the pod in a file.
func newReview(path string) (name string, review []byte, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	object, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return "", nil, err
	}
	var pod metav1.PartialObjectMetadata
	if err := json.Unmarshal(object, &pod); err != nil {
		return "", nil, err
	}
	review, err = json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "example", Operation: admissionv1.Create, Name: pod.Name, Namespace: pod.Namespace,
			Kind:     metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Object:   runtime.RawExtension{Raw: object},
		},
	})
	return pod.Namespace + "/" + pod.Name, review, err
}

// send posts a review. It tries again while the server does not listen yet.
func send(ctx context.Context, client *http.Client, url string, review []byte) (*admissionv1.AdmissionResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(review))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(20 * time.Millisecond):
				continue
			}
		}
		body, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			return nil, err
		}
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal(body, &answer); err != nil || answer.Response == nil {
			return nil, fmt.Errorf("%s: %s", response.Status, body)
		}
		return answer.Response, nil
	}
}

func printVerdict(path, name string, r *admissionv1.AdmissionResponse) {
	verdict := "ADMITTED"
	if !r.Allowed {
		verdict = "REFUSED"
	}
	fmt.Printf("%-8s  pod %s   (%s)\n", verdict, name, path)
	for _, w := range r.Warnings {
		fmt.Println("          warning:", w)
	}
	if r.Result != nil {
		fmt.Println("          " + r.Result.Message)
	}
	fmt.Println()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
