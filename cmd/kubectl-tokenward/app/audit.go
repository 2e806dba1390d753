package app

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/cmd/program"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policysource"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/survey"
	"tokenward.dev/tokenward/pkg/trust"
)

// auditOptions are the flags of audit.
type auditOptions struct {
	findingsFlags[*report.Audit]
	config        *genericclioptions.ConfigFlags
	allNamespaces bool
	selector      string
	policyFile    string
	keys          program.Keys
}

func newAuditCommand() *cobra.Command {
	o := &auditOptions{findingsFlags: findingsFlags[*report.Audit]{formats: report.AuditFormats()}}
	command := &cobra.Command{
		Use:   "audit",
		Short: "Judge what runs: which workloads break, when, and how to mend them",
		Long: `Judge the pods and workloads that a cluster has, by its TokenPolicies or those
of a file; the built-in one applies unless one is named default. Nothing needs
to be installed. Every list is read once, by pages; a fault is confirmed by a
read of its own before it is told. No token is sent anywhere, and nothing is
written.

Exit status: 0 nothing found, 1 findings with the action of --fail-on or a
stronger one, 2 the audit could not be made.`,
		Example: `  kubectl tokenward audit -A
  kubectl tokenward audit -n shop -l app=web -o wide
  kubectl tokenward audit -A -o html > audit.html`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	f := command.Flags()
	f.BoolVarP(&o.allNamespaces, "all-namespaces", "A", o.allNamespaces, "the whole cluster")
	f.StringVarP(&o.selector, "selector", "l", o.selector, "judge only pods and workloads with these labels")
	f.StringVar(&o.policyFile, "policy-file", o.policyFile, "TokenPolicies from a file instead of those in the cluster")
	o.add(command)
	o.keys.AddFlags(f)
	o.config = addClusterFlags(command, true)
	return command
}

func (o *auditOptions) run(cmd *cobra.Command, _ []string) error {
	write, err := o.writer(cmd)
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
	return write(result)
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
	if s.Templates, err = o.resources.Templates(); err != nil {
		return nil, nil, err
	}
	keys, err := o.keys.Read()
	if err != nil {
		return nil, nil, err
	}
	s.Keys = trust.Options{Keys: keys, Issuers: o.keys.Issuers, Partial: o.keys.Partial}
	policies, notes, err := o.policies(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	s.Snapshot = policy.NewSnapshot(policy.Checks(), policies, policy.Options{Hold: true})
	return s, notes, nil
}

// policies come from a file, or from the cluster if it has the kind.
func (o *auditOptions) policies(ctx context.Context, config *rest.Config) ([]*policy.Policy, []string, error) {
	compiler := policy.NewCompiler(policy.Checks())
	if o.policyFile != "" {
		policies, err := policysource.Read([]string{o.policyFile}, compiler)
		if err != nil {
			return nil, nil, fmt.Errorf("--policy-file: %w", err)
		}
		return policies, nil, nil
	}
	policies, notes, err := policysource.List(ctx, config, compiler)
	if apierrors.IsForbidden(err) {
		return nil, []string{"TokenPolicies could not be read, so that the built-in policy counts: " + statusOf(err)}, nil
	}
	return policies, notes, err
}
