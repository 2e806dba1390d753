// Package cluster starts a real control plane for tests: etcd, kube-apiserver
// and kube-controller-manager on free ports of 127.0.0.1, built from the Go
// modules below this directory by "make cluster-binaries".
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// assetsVariable names a directory with the binaries of another control plane;
// it is envtest's own.
const assetsVariable = "KUBEBUILDER_ASSETS"

// auditPolicy records the metadata of every request; that is enough to read
// the audit annotations of webhooks.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}], "omitStages": ["RequestReceived"]}`

// Cluster is a running control plane.
type Cluster struct {
	// Config is for a client that may do everything.
	Config *rest.Config
	// Kubeconfig is the path of a file for the same.
	Kubeconfig string
	// AuditLog is the path of the API server's audit log: JSON, a line an event.
	AuditLog string

	dir          string
	bin          string
	apiServerLog bytes.Buffer
	env          *envtest.Environment
	controller   *exec.Cmd
	controllerCA string // the file that the controllers publish as ca.crt
	signer       string // the file of the key that the controllers sign by
}

// Root returns the top directory of the project.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// assets returns the directory with the binaries: KUBEBUILDER_ASSETS, or the
// newest version that was built.
func assets() (string, error) {
	if dir := os.Getenv(assetsVariable); dir != "" {
		return filepath.Abs(dir)
	}
	built, err := filepath.Glob(filepath.Join(Root(), "bin", "k8s", "v*", "kube-apiserver"))
	if err != nil || len(built) == 0 {
		return "", errors.New("there is no control plane to test against: run \"make cluster-binaries\", or set " + assetsVariable)
	}
	slices.Sort(built)
	return filepath.Dir(built[len(built)-1]), nil
}

// Start starts a control plane. Stop must be called, also after an error.
func Start() (*Cluster, error) { return StartWith(nil) }

// StartWith is Start with more flags for the API server.
func StartWith(flags map[string]string) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "tokenward-cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, AuditLog: filepath.Join(dir, "audit.log"), Kubeconfig: filepath.Join(dir, "kubeconfig")}
	if err := c.start(flags); err != nil {
		return c, fmt.Errorf("control plane: %w\n%s", err, c.apiServerLog.Bytes())
	}
	return c, nil
}

func (c *Cluster) start(flags map[string]string) error {
	bin, err := assets()
	if err != nil {
		return err
	}
	c.bin = bin
	policy := filepath.Join(c.dir, "audit-policy.json")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	c.env = &envtest.Environment{
		BinaryAssetsDirectory: bin,
		CRDDirectoryPaths:     []string{filepath.Join(Root(), "config", "crd")},
		ErrorIfCRDPathMissing: true,
		// Open watches hold up a graceful stop for 20 s.
		ControlPlaneStopTimeout: 2 * time.Second,
	}
	server := c.env.ControlPlane.GetAPIServer()
	server.Out, server.Err = &c.apiServerLog, &c.apiServerLog
	server.CertDir = filepath.Join(c.dir, "certs")
	if err := os.MkdirAll(server.CertDir, 0o700); err != nil {
		return err
	}
	// envtest turns the ServiceAccount plugin off, and pods would have no tokens.
	server.Configure().Disable("disable-admission-plugins").
		Set("audit-policy-file", policy).
		Set("audit-log-path", c.AuditLog).
		Set("endpoint-reconciler-type", "none").
		Set("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
	for name, value := range flags {
		server.Configure().Set(name, value)
	}
	if c.Config, err = c.env.Start(); err != nil {
		return err
	}
	user, err := c.env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, c.Config)
	if err != nil {
		return err
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return err
	}
	c.Config = user.Config()
	c.Config.QPS = -1
	if err := os.WriteFile(c.Kubeconfig, kubeconfig, 0o600); err != nil {
		return err
	}
	c.controllerCA, c.signer = filepath.Join(c.dir, "ca.crt"), filepath.Join(server.CertDir, "sa-signer.key")
	if err := os.WriteFile(c.controllerCA, c.Config.CAData, 0o600); err != nil {
		return err
	}
	return c.StartControllers()
}

// StartControllers runs the controllers that pods, their accounts and their
// token Secrets depend on.
func (c *Cluster) StartControllers() error {
	binary := filepath.Join(c.bin, "kube-controller-manager")
	if _, err := os.Stat(binary); err != nil {
		return err
	}
	// Under their own name, by which admission can know them.
	_, kubeconfig, err := c.As("system:kube-controller-manager", "system:masters")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "controller-manager.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	c.controller = exec.Command(binary,
		"--kubeconfig="+kubeconfig,
		"--service-account-private-key-file="+c.signer,
		"--root-ca-file="+c.controllerCA,
		"--controllers="+strings.Join([]string{
			"serviceaccount-controller", "serviceaccount-token-controller", "root-ca-certificate-publisher-controller",
			"replicaset-controller", "deployment-controller", "statefulset-controller", "job-controller", "cronjob-controller",
			"namespace-controller", "garbage-collector-controller",
		}, ","),
		"--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000",
	)
	c.controller.Stdout, c.controller.Stderr = log, log
	// Whatever becomes of the test, its controllers end with it.
	c.controller.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c.controller.Start()
}

// StopControllers ends the controllers.
func (c *Cluster) StopControllers() {
	if c.controller != nil && c.controller.Process != nil {
		_ = c.controller.Process.Kill()
		_ = c.controller.Wait()
	}
	c.controller = nil
}

// SigningKey returns the file of the key that tokens are signed by.
func (c *Cluster) SigningKey() string { return c.signer }

// UseSigningKey restarts API server and controllers with a signing key, and with
// the keys that tokens are verified by; all are files.
func (c *Cluster) UseSigningKey(signer string, verify ...string) error {
	c.StopControllers()
	c.signer = signer
	server := c.env.ControlPlane.GetAPIServer()
	server.Configure().Set("service-account-signing-key-file", signer).Set("service-account-key-file", verify...)
	if err := c.RestartAPIServer(func() {}); err != nil {
		return err
	}
	return c.StartControllers()
}

// RestartAPIServer kills the API server, calls meanwhile, and starts it again
// at the same address with the same keys.
func (c *Cluster) RestartAPIServer(meanwhile func()) error {
	server := c.env.ControlPlane.GetAPIServer()
	// Open watches keep it from stopping in time; then it is killed, which is an
	// error to envtest, and what is wanted here.
	_ = server.Stop()
	meanwhile()
	return server.Start()
}

// Stop ends everything and removes what it wrote.
func (c *Cluster) Stop() error {
	var errs []error
	c.StopControllers()
	if c.env != nil {
		errs = append(errs, c.env.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// Eventually polls until the condition holds or the time is over. It returns
// the last error of the condition.
func Eventually(ctx context.Context, limit time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
