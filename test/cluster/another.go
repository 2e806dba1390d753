package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

// Another is one more API server over the same etcd.
type Another struct {
	// Address is host and port.
	Address string

	command *exec.Cmd
	log     bytes.Buffer
}

// StartAnother starts one more API server like the first, but for some flags. It
// is ready when it returns; config is for a client that may ask it.
func (c *Cluster) StartAnother(config *rest.Config, flags map[string][]string) (*Another, error) {
	args, err := c.apiServerArgs()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &Another{Address: l.Addr().String()}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	flags["secure-port"] = []string{strconv.Itoa(port)}
	flags["audit-log-path"] = []string{filepath.Join(c.dir, "audit-"+strconv.Itoa(port)+".log")}
	var own []string
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if _, changed := flags[name]; !changed {
			own = append(own, arg)
		}
	}
	for name, values := range flags {
		for _, v := range values {
			own = append(own, "--"+name+"="+v)
		}
	}
	a.command = exec.Command(filepath.Join(c.bin, "kube-apiserver"), own...)
	a.command.Stdout, a.command.Stderr = &a.log, &a.log
	a.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.command.Start(); err != nil {
		return nil, err
	}
	return a, a.waitReady(config)
}

func (a *Another) waitReady(config *rest.Config) error {
	config = rest.CopyConfig(config)
	config.Host = "https://" + a.Address
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	err = Eventually(context.Background(), time.Minute, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		if err := response.Body.Close(); err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
	if err != nil {
		a.Stop()
		return fmt.Errorf("another API server: %w\n%s", err, a.log.Bytes())
	}
	return nil
}

// Stop kills it.
func (a *Another) Stop() {
	_ = a.command.Process.Kill()
	_ = a.command.Wait()
}

// apiServerArgs returns the flags of the API server that runs, which envtest
// keeps to itself.
func (c *Cluster) apiServerArgs() ([]string, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, p := range processes {
		text, err := os.ReadFile(p)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
		if filepath.Base(args[0]) == "kube-apiserver" && strings.Contains(string(text), c.dir) {
			return args[1:], nil
		}
	}
	return nil, errors.New("the API server does not run")
}
