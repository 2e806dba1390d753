package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/survey"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/version"
	"tokenward.dev/tokenward/pkg/workload"
)

// auditOptions are the flags of audit.
type auditOptions struct {
	config        *genericclioptions.ConfigFlags
	allNamespaces bool
	selector      string
	output        string
	failOn        string
	policyFile    string
	workloads     []string
	keyFiles      []string
	issuers       []string
	partial       bool
}

func newAuditCommand() *cobra.Command {
	o := &auditOptions{output: "table", failOn: "Warn"}
	command := &cobra.Command{
		Use:   "audit",
		Short: "Judge what runs: which workloads break, when, and how to mend them",
		Long: `Judge the pods and workloads that a cluster has, by its TokenPolicies (by the
defaults where it has none, or by those of a file). Nothing needs to be
installed. Every list is read once, by pages; a fault is confirmed by a read of
its own before it is told. No token is sent anywhere, and nothing is written.

Exit status: 0 nothing found, 1 findings with the action of --fail-on or a
stronger one, 2 the audit could not be made.`,
		Example: `  kubectl tokenward audit -A
  kubectl tokenward audit -n shop -l app=web -o wide
  kubectl tokenward audit -A -o html > audit.html`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	o.config = addClusterFlags(command, true)
	o.addFlags(command.Flags())
	completeWords(command, "output", report.Names(report.AuditFormats())...)
	completeWords(command, "fail-on", "Deny", "Warn", "Audit", "Off")
	return command
}

func (o *auditOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.allNamespaces, "all-namespaces", "A", o.allNamespaces, "the whole cluster")
	f.StringVarP(&o.selector, "selector", "l", o.selector, "judge only pods and workloads with these labels")
	f.StringVarP(&o.output, "output", "o", o.output, strings.Join(report.Names(report.AuditFormats()), ", "))
	f.StringVar(&o.failOn, "fail-on", o.failOn, "the weakest action of a finding that makes the exit status 1: Deny, Warn or Audit; Off for never")
	f.StringVar(&o.policyFile, "policy-file", o.policyFile, "TokenPolicies from a file instead of those in the cluster")
	f.StringArrayVar(&o.workloads, "workload-resource", o.workloads, "a resource with a pod template that is judged, too, such as argoproj.io/v1alpha1/rollouts=spec.template (repeatable)")
	f.StringArrayVar(&o.keyFiles, "service-account-key-file", o.keyFiles, "keys that tokens are verified by, beside those that the API server publishes: PEM or JWKS (repeatable)")
	f.StringArrayVar(&o.issuers, "service-account-issuer", o.issuers, "an issuer that the API server accepts beside the one that it publishes (repeatable)")
	f.BoolVar(&o.partial, "signing-keys-partial", o.partial, "the API server accepts more keys than it publishes: a token of an unknown key is unknown, not dead")
}

func (o *auditOptions) run(cmd *cobra.Command, _ []string) error {
	write, ok := report.AuditFormats()[o.output]
	if !ok {
		return fmt.Errorf("--output: %q is none of %s", o.output, strings.Join(report.Names(report.AuditFormats()), ", "))
	}
	failOn, err := parseAction(o.failOn)
	if err != nil {
		return err
	}
	s, notes, err := o.survey(cmd.Context())
	if err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr())
	s.Progress = progress.show
	result, err := s.Run(cmd.Context())
	progress.clear()
	if err != nil {
		return err
	}
	result.Incomplete = append(notes, result.Incomplete...)
	options := report.Options{Colour: newPrinter(cmd.OutOrStdout()).colour, FailOn: failOn, Version: version.Get().Version}
	if err := write(cmd.OutOrStdout(), result, options); err != nil {
		return err
	}
	if failOn != v1alpha1.Off && result.AtLeast(failOn) {
		return errFindings
	}
	return nil
}

// parseAction reads the action of --fail-on.
func parseAction(text string) (v1alpha1.Action, error) {
	for _, a := range v1alpha1.Actions() {
		if strings.EqualFold(text, string(a)) {
			return a, nil
		}
	}
	return "", fmt.Errorf("--fail-on: %q is none of Deny, Warn, Audit, Off", text)
}

// survey puts together what the flags say. The notes tell what it goes without.
func (o *auditOptions) survey(ctx context.Context) (*survey.Survey, []string, error) {
	config, err := o.config.ToRESTConfig()
	if err != nil {
		return nil, nil, err
	}
	config.UserAgent = "tokenward/audit"
	config.QPS = -1 // the API server's own priority and fairness decides
	s := &survey.Survey{Config: config, Now: time.Now(), Progress: func(string, int) {}}
	if !o.allNamespaces {
		if s.Namespace, _, err = o.config.ToRawKubeConfigLoader().Namespace(); err != nil {
			return nil, nil, err
		}
	}
	if o.selector != "" {
		if s.Selector, err = labels.Parse(o.selector); err != nil {
			return nil, nil, fmt.Errorf("--selector: %w", err)
		}
	}
	s.Templates = workload.BuiltinTemplates()
	for _, text := range o.workloads {
		resource, path, err := workload.ParseResource(text)
		if err == nil {
			s.Templates, err = s.Templates.With(resource, path)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--workload-resource: %q: %w", text, err)
		}
	}
	if s.Keys, err = o.keys(); err != nil {
		return nil, nil, err
	}
	policies, notes, err := o.policies(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	s.Snapshot = policy.NewSnapshot(policy.Checks(), policies, policy.Options{})
	return s, notes, nil
}

func (o *auditOptions) keys() (token.KeySetOptions, error) {
	out := token.KeySetOptions{Issuers: o.issuers, Partial: o.partial}
	for _, file := range o.keyFiles {
		data, err := os.ReadFile(file)
		if err != nil {
			return out, fmt.Errorf("--service-account-key-file: %w", err)
		}
		keys, err := token.ParseKeys(data)
		if err != nil {
			return out, fmt.Errorf("--service-account-key-file: %s: %w", file, err)
		}
		out.Keys = append(out.Keys, keys...)
	}
	return out, nil
}

// policies come from a file, or from the cluster if it has the kind.
func (o *auditOptions) policies(ctx context.Context, config *rest.Config) ([]*policy.Policy, []string, error) {
	compiler := policy.NewCompiler(policy.Checks())
	if o.policyFile != "" {
		text, err := os.ReadFile(o.policyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("--policy-file: %w", err)
		}
		policies, err := compiler.Parse(o.policyFile, text)
		if err != nil {
			return nil, nil, fmt.Errorf("--policy-file: %w", err)
		}
		return policies, nil, nil
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	list, err := client.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource)).List(ctx, metav1.ListOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, nil
	case apierrors.IsForbidden(err):
		return nil, []string{"TokenPolicies could not be read, so that the defaults of the checks count: " + err.Error()}, nil
	case err != nil:
		return nil, nil, fmt.Errorf("TokenPolicies: %w", err)
	}
	var policies []*policy.Policy
	var notes []string
	for i := range list.Items {
		p := &v1alpha1.TokenPolicy{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, p); err != nil {
			notes = append(notes, fmt.Sprintf("TokenPolicy %s could not be read: %s", list.Items[i].GetName(), err))
			continue
		}
		compiled, errs := compiler.Compile(p)
		if len(errs) > 0 {
			notes = append(notes, fmt.Sprintf("TokenPolicy %s is not wholly in force: %s", p.Name, errs.ToAggregate()))
		}
		policies = append(policies, compiled)
	}
	return policies, notes, nil
}

// progress is a line on a terminal that tells how far the audit has come.
type progress struct {
	to    io.Writer // nil: no terminal
	last  time.Time
	what  []string
	count map[string]int
}

// progressEvery keeps the line from flickering.
const progressEvery = 100 * time.Millisecond

func newProgress(to io.Writer) *progress {
	if !isTerminal(to) {
		to = nil
	}
	return &progress{to: to, count: map[string]int{}}
}

func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func (p *progress) show(what string, n int) {
	if p.to == nil {
		return
	}
	if !slices.Contains(p.what, what) {
		p.what = append(p.what, what)
	}
	p.count[what] = n
	if time.Since(p.last) < progressEvery {
		return
	}
	p.last = time.Now()
	parts := make([]string, len(p.what))
	for i, w := range p.what {
		parts[i] = fmt.Sprintf("%d %s", p.count[w], w)
	}
	_, _ = io.WriteString(p.to, "\r\x1b[Kreading: "+strings.Join(parts, ", "))
}

func (p *progress) clear() {
	if p.to != nil {
		_, _ = io.WriteString(p.to, "\r\x1b[K")
	}
}
