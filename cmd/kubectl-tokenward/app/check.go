package app

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"tokenward.dev/tokenward/pkg/check"
	"tokenward.dev/tokenward/pkg/makers"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policysource"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/trust"
)

// checkOptions are the flags of check.
type checkOptions struct {
	findingsFlags[*report.Report]
	files, kustomizations, exclude []string
	state, policyFiles, makers     []string
	recursive, live, failUnjudged  bool
	cluster                        *genericclioptions.ConfigFlags
}

const checkLong = `Judge the pods and workloads in manifests: whether the Secrets, ConfigMaps and
accounts that they depend on are there, and whether their tokens work.

What is there is looked up in the manifests themselves, then in those of
--cluster-state, and then, with --live, in the cluster of your kubeconfig.
Without --live nothing is sent to any cluster.

It is judged by the TokenPolicies of --policy-file; without that flag by those
of the cluster (--live) and those among the manifests. Unless one of them is
named default, the built-in policy of that name applies, too. A workload is
judged as its pods will be: what a policy denies to pods is denied, whatever its
templateAction.

Secrets and ConfigMaps that something among the manifests makes, such as an
ExternalSecret or a Certificate, count as present and are named. Those of which
that is only likely are named, too, and are no finding. "explain makers" has the
table; --makers adds to it.

A file that can't be read is an error beside the report. Helm charts, templates
and kustomizations are passed over by name; -k builds a kustomization.

An annotation of a manifest accepts the findings of a check, with a reason:
  accept.tokenward.dev/secret-exists: Terraform makes it

Exit status: 0 nothing at or above --fail-on, 1 findings, 2 nothing could be
judged, 3 no findings, but something could not be read (or, with
--fail-on-unjudged, was not judged).`

func newCheckCommand() *cobra.Command {
	o := &checkOptions{findingsFlags: findingsFlags[*report.Report]{formats: report.Formats()}}
	command := &cobra.Command{
		Use:   "check -f FILE",
		Short: "Judge manifests before they reach a cluster",
		Long:  checkLong,
		Example: `  # A directory of manifests, and those below it
  kubectl tokenward check -R -f deploy/

  # What Helm would install
  helm template web ./chart -n shop | kubectl tokenward check -n shop -f -

  # With what the cluster has, by the policies that it has
  kubectl tokenward check --live -f web.yaml

  # By policies of your own, for GitHub code scanning
  kubectl tokenward check -f deploy/ --policy-file p.yaml -o sarif > out.sarif`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("check: unexpected argument %q; manifests are given by -f", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := command.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "`file` or directory with manifests, or - for stdin (repeatable)")
	f.StringArrayVarP(&o.kustomizations, "kustomize", "k", nil, "`directory` with a kustomization to build and judge (repeatable)")
	f.StringArrayVar(&o.exclude, "exclude", nil, "`pattern` of paths to pass over, such as charts/ or **/test-*.yaml (repeatable)")
	f.BoolVarP(&o.recursive, "recursive", "R", false, "also take what is below the directories")
	f.StringArrayVar(&o.state, "cluster-state", nil, "`file` or directory with manifests of what the cluster has (repeatable)")
	f.BoolVar(&o.live, "live", false, "look up in the cluster what the manifests do not have, and use its TokenPolicies")
	f.StringArrayVar(&o.policyFiles, "policy-file", nil, "`file` with TokenPolicies to judge by, and by no others (repeatable)")
	f.StringArrayVar(&o.makers, "makers", nil, "`file` with more of what makes Secrets and ConfigMaps (repeatable)")
	f.BoolVar(&o.failUnjudged, "fail-on-unjudged", false, "exit with 3 also if something was passed over or not judged")
	o.add(command)
	o.cluster = addClusterFlags(command, true)
	f.Lookup("namespace").Usage = "the namespace of manifests that name none; that of the kubeconfig, with --live, or default"
	return command
}

// run judges and writes the report.
func (o *checkOptions) run(cmd *cobra.Command) error {
	write, err := o.writer(cmd)
	if err != nil {
		return err
	}
	options, err := o.options(cmd)
	if err != nil {
		return err
	}
	r, err := check.Run(cmd.Context(), options)
	if err != nil {
		return err
	}
	for i := range r.Errors {
		cmd.PrintErrln("error:", redact(r.Errors[i].String()))
	}
	if len(r.Objects) == 0 {
		options.Warn("nothing was judged: there is no pod and no workload in " + strings.Join(slices.Concat(o.files, o.kustomizations), ", "))
	}
	if err := write(r); err != nil {
		return err
	}
	return o.incomplete(r)
}

// incomplete returns the error for what a report without findings leaves out.
func (o *checkOptions) incomplete(r *report.Report) error {
	unjudged := len(r.Unjudged)
	switch {
	case len(r.Objects) == 0 && len(r.Errors)+unjudged > 0:
		return errNothing
	case len(r.Errors) > 0, o.failUnjudged && (unjudged+len(r.PassedOver) > 0 || len(r.Objects) == 0):
		return errIncomplete
	}
	return nil
}

func (o *checkOptions) options(cmd *cobra.Command) (*check.Options, error) {
	if len(o.files)+len(o.kustomizations) == 0 {
		return nil, errors.New("check: give manifests by -f FILE, -f DIRECTORY, -k DIRECTORY, or -f - for stdin")
	}
	if slices.Contains(o.files, check.Stdin) && slices.Contains(o.state, check.Stdin) {
		return nil, errors.New("--cluster-state: stdin is what -f reads")
	}
	out := &check.Options{
		Manifests: check.Input{Paths: o.files, Kustomizations: o.kustomizations, Exclude: o.exclude, Recursive: o.recursive, Stdin: cmd.InOrStdin()},
		State:     check.Input{Paths: o.state, Recursive: true, Stdin: cmd.InOrStdin()},
		Namespace: *o.cluster.Namespace,
		Compiler:  policy.NewCompiler(policy.Checks()), Only: len(o.policyFiles) > 0, Now: time.Now(), Warn: warner(cmd),
	}
	var err error
	if out.Templates, err = o.resources.Templates(); err != nil {
		return nil, err
	}
	if out.Makers, err = readMakers(o.makers); err != nil {
		return nil, fmt.Errorf("--makers: %w", err)
	}
	if out.Policies, err = policysource.Read(o.policyFiles, out.Compiler); err != nil {
		return nil, fmt.Errorf("--policy-file: %w", err)
	}
	if !o.live {
		return out, noneOf(cmd.Flags())
	}
	return out, o.useCluster(cmd, out)
}

// readMakers returns the built-in table with the rows of files.
func readMakers(files []string) (*makers.Table, error) {
	var rows []makers.Row
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		more, err := makers.Parse(file, data)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return makers.NewTable(rows...), nil
}

// noneOf refuses flags that say which cluster to ask, where none is asked.
func noneOf(given *pflag.FlagSet) (err error) {
	given.Visit(func(f *pflag.Flag) {
		if f.Annotations[clusterFlag] != nil && f.Name != "namespace" {
			err = fmt.Errorf("--%s: no cluster is asked without --live", f.Name)
		}
	})
	return err
}

// useCluster makes the cluster answer, and its policies count.
func (o *checkOptions) useCluster(cmd *cobra.Command, out *check.Options) error {
	if err := noCluster(o.cluster); err != nil {
		return fmt.Errorf("--live: %w", err)
	}
	config, err := o.cluster.ToRESTConfig()
	if err != nil {
		return fmt.Errorf("--live: %w", err)
	}
	config.UserAgent = "tokenward/check"
	if out.Namespace, _, err = o.cluster.ToRawKubeConfigLoader().Namespace(); err != nil {
		return fmt.Errorf("--live: %w", err)
	}
	follower, client, err := liveCluster(config, trust.Options{})
	if err != nil {
		return fmt.Errorf("--live: %w", err)
	}
	if _, err := client.Core.Discovery().ServerVersion(); err != nil {
		return fmt.Errorf("--live: the cluster does not answer: %w", err)
	}
	_ = follower.Refresh(cmd.Context(), time.Now()) // where the keys can't be read, tokens are unknown
	out.Live = client
	if out.Only {
		return nil
	}
	var notes []string
	if out.Policies, notes, err = policysource.List(cmd.Context(), config, out.Compiler); err != nil {
		return fmt.Errorf("--live: %w; give --policy-file to judge by other policies", err)
	}
	for _, n := range notes {
		out.Warn(n)
	}
	return nil
}
