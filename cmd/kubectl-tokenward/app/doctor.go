package app

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"tokenward.dev/tokenward/pkg/doctor"
)

// podFiles is where the kubelet puts a pod's token (the volume that the
// admission plugin ServiceAccount adds).
const podFiles = "/var/run/secrets/kubernetes.io/serviceaccount"

// targetRoot is the root of the files of the container that kubectl debug --target
// names: its first process is the first process of the debug container, too.
const targetRoot = "/proc/1/root"

// patience is how long a step waits where --request-timeout says nothing.
const patience = 5 * time.Second

type doctorOptions struct {
	cluster           *genericclioptions.ConfigFlags
	tokenFile, caFile string
	// root is where the files of the pod are looked for, other where else if that
	// is not given.
	root, other string
	output      string
	now         func() time.Time
}

func newDoctorCommand(now func() time.Time) *cobra.Command {
	o := &doctorOptions{other: targetRoot, output: formatTable, now: now}
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Follow the way to the API server, and name the link that is broken",
		Long: `Follow the way to the API server link by link, and stop at the first that is
broken, with the cure: token file, claims, expiry, namespace, CA, address, name
resolution, TCP, TLS, the answer without and with the token, who the API server
says you are, and what you may do.

In a pod it goes by the files of the pod, elsewhere by your kubeconfig. In a
container that kubectl debug --target has added it goes by the files of the
target. That the API server refuses anonymous requests is normal.

It makes some requests with the token: that marks the Secret of a legacy token
as used.

Exit status: 0 all is well, 1 a link is broken, 2 could not run.`,
		Example: `  kubectl exec mypod -c debugger -- /tmp/kubectl-tokenward doctor
  kubectl tokenward doctor --context staging -n shop
  kubectl tokenward doctor --token-file token --ca-file ca.crt -s https://10.0.0.1:6443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	command.Flags().StringVar(&o.tokenFile, "token-file", "", "file with the token; in a pod that of the pod")
	command.Flags().StringVar(&o.caFile, "ca-file", "", "file with the CA; in a pod, and beside --token-file, ca.crt beside the token")
	command.Flags().StringVar(&o.root, "root", "", "in a pod, the directory that the pod's files are under; by default /, and after it "+targetRoot)
	addOutputFlag(command, &o.output)
	o.cluster = addClusterFlags(command, true)
	return command
}

func (o *doctorOptions) run(cmd *cobra.Command) error {
	if err := checkFormat(o.output); err != nil {
		return err
	}
	for flag, path := range map[string]string{"token-file": o.tokenFile, "ca-file": o.caFile, "root": o.root} {
		if path != "" && !mayQuote(path) {
			return fmt.Errorf("--%s: this is no name of a file", flag)
		}
	}
	target, err := o.target()
	if err != nil {
		return err
	}
	environment := doctor.Environment{
		ReadFile: os.ReadFile,
		Modified: func(path string) (time.Time, error) {
			info, err := os.Stat(path)
			if err != nil {
				return time.Time{}, err
			}
			return info.ModTime(), nil
		},
		Resolve: net.DefaultResolver.LookupHost, Dial: (&net.Dialer{}).DialContext, Now: o.now, Patience: patience,
	}
	if target.Config.Timeout > 0 {
		environment.Patience = target.Config.Timeout
	}
	var told func(doctor.Step)
	if p := newPrinter(cmd.OutOrStdout()); o.output == formatTable {
		told = p.step
	}
	report := doctor.Examine(cmd.Context(), environment, *target, told)
	result := struct {
		OK             bool `json:"ok"`
		*doctor.Report `json:",inline"`
	}{report.Broken() == nil, report}
	if err := printAs(cmd.OutOrStdout(), o.output, result, func() {}); err != nil {
		return err
	}
	if report.Broken() != nil {
		return errFindings
	}
	return nil
}

// step prints a step as soon as it is known.
func (p *printer) step(s doctor.Step) {
	const names = 13
	style := map[doctor.Status]style{doctor.OK: green, doctor.Note: yellow, doctor.Failed: red}[s.Status]
	mark := map[doctor.Status]string{doctor.OK: "ok", doctor.Note: "note", doctor.Failed: "FAILED"}[s.Status]
	lines := wrapped(s.Seen, width-names-10)
	if s.Cure != "" {
		for i, line := range wrapped("cure: "+s.Cure, width-names-10) {
			if i > 0 {
				line = "      " + line
			}
			lines = append(lines, line)
		}
	}
	name := string(s.Name)
	for _, line := range lines {
		p.line(fmt.Sprintf("%s  %-*s  %s", p.paint(style, fmt.Sprintf("%-6s", mark)), names, name, line))
		mark, name = "", ""
	}
}

// target says which way is followed: that of a pod's files, or that of a
// kubeconfig.
func (o *doctorOptions) target() (*doctor.Target, error) {
	host := os.Getenv("KUBERNETES_SERVICE_HOST")
	given := o.tokenFile != "" || o.caFile != ""
	kubeconfig := chosen(o.cluster.KubeConfig, o.cluster.Context, o.cluster.ClusterName, o.cluster.AuthInfoName)
	if given && kubeconfig {
		return nil, errors.New("--token-file, --ca-file: take the place of a kubeconfig; leave --kubeconfig and --context out")
	}
	if o.root != "" && (given || kubeconfig) {
		return nil, errors.New("--root: is for the files of a pod; leave --token-file, --ca-file, --kubeconfig and --context out")
	}
	loader := o.cluster.ToRawKubeConfigLoader()
	if given || o.root != "" || !kubeconfig && host != "" && !kubeconfigExists() {
		return o.podTarget(host)
	}
	if err := noCluster(o.cluster); err != nil {
		return nil, fmt.Errorf("%w, or --token-file, --ca-file and --server", err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	target := &doctor.Target{Config: config}
	if namespace, _, err := loader.Namespace(); err == nil {
		target.Namespace = namespace
	}
	return target, nil
}

func (o *doctorOptions) podTarget(host string) (*doctor.Target, error) {
	t := &doctor.Target{Config: &rest.Config{}, TokenFile: o.tokenFile, CAFile: o.caFile, InPod: o.tokenFile == ""}
	t.TokenFile = cmp.Or(t.TokenFile, filepath.Join(o.podDirectory(), "token"))
	t.CAFile = cmp.Or(t.CAFile, filepath.Join(filepath.Dir(t.TokenFile), "ca.crt"))
	t.NamespaceFile = filepath.Join(filepath.Dir(t.TokenFile), "namespace")
	if host != "" {
		t.Config.Host = "https://" + net.JoinHostPort(host, cmp.Or(os.Getenv("KUBERNETES_SERVICE_PORT"), "443"))
	}
	if s := o.cluster.APIServer; s != nil && *s != "" {
		t.Config.Host = *s
	}
	t.Config.ServerName = value(o.cluster.TLSServerName)
	t.Config.Insecure = o.cluster.Insecure != nil && *o.cluster.Insecure
	t.Namespace = value(o.cluster.Namespace)
	if text := value(o.cluster.Timeout); text != "" && text != "0" {
		timeout, err := clientcmd.ParseTimeout(text)
		if err != nil {
			return nil, fmt.Errorf("--request-timeout: %w", err)
		}
		t.Config.Timeout = timeout
	}
	return t, nil
}

// podDirectory returns where the token of the pod is. In an image whose /var/run is
// a link to /run it is under /run: seen from another container the link leads to
// that container's own files.
func (o *doctorOptions) podDirectory() string {
	roots := []string{"/", o.other}
	if o.root != "" {
		roots = []string{o.root}
	}
	for _, root := range roots {
		for _, directory := range []string{podFiles, strings.TrimPrefix(podFiles, "/var")} {
			directory = filepath.Join(root, directory)
			if _, err := os.Stat(filepath.Join(directory, "token")); err == nil {
				return directory
			}
		}
	}
	return filepath.Join(roots[0], podFiles)
}
