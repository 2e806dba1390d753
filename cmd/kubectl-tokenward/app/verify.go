package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/cmd/program"
	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/tokentext"
	"tokenward.dev/tokenward/pkg/trust"
)

// verifyOptions are the flags of token verify.
type verifyOptions struct {
	input     tokenInput
	output    string
	keyFiles  []string
	jwks      string
	issuers   []string
	audiences []string
	settle    time.Duration
	live      bool
	cluster   *genericclioptions.ConfigFlags
	now       func() time.Time
}

// verifySettle is how long the keys are watched where one is missing.
const verifySettle = 5 * time.Second

func newVerifyCommand(now func() time.Time) *cobra.Command {
	o := &verifyOptions{output: formatTable, settle: verifySettle, now: now}
	command := &cobra.Command{
		Use:   "verify [TOKEN|-]",
		Short: "Say whether the API server would accept a token, and why not",
		Long: `Say whether the API server would accept a token, why not, and what to do. The
token is not sent: its signature is checked here, by the keys that the API
server publishes, and the account, the Secret, the pod or the node that it names
are looked up. So no Secret is marked as used.

With --key-file or --jwks no request is made at all. What the token names is not
looked at then, so that the verdict is "unknown" at best; signature and times
are told all the same.

` + tokenForms + `

--live also makes one request with the token, and explains the answer. That
marks the Secret of a legacy token as used.

Exit status: 0 valid, 1 invalid or unknown, 2 could not run.`,
		Example: `  kubectl get secret robot-token -o yaml | kubectl tokenward token verify
  kubectl create token robot | kubectl tokenward token verify --live
  kubectl tokenward token verify -f token.txt --key-file sa.pub
  kubectl tokenward token verify -f vault.token --audience vault`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := command.Flags()
	o.input.addFlags(command)
	addOutputFlag(command, &o.output)
	f.StringArrayVar(&o.keyFiles, "key-file", nil, "PEM file with keys of the API server, as its --service-account-key-file; may be given more than once")
	f.StringVar(&o.jwks, "jwks", "", "file with the keys as /openid/v1/jwks shows them")
	f.StringArrayVar(&o.issuers, "issuer", nil, "issuer that the API server accepts, besides the one that it publishes; may be given more than once")
	f.StringArrayVar(&o.audiences, "audience", nil, "audience that the token must be for, instead of the API server; may be given more than once")
	f.DurationVar(&o.settle, "signing-key-settle", o.settle, "how long the API server's keys are watched before one that is not among them counts as gone; 0 does not wait")
	f.BoolVar(&o.live, "live", false, "also make a request with the token")
	o.cluster = addClusterFlags(command, false)
	return command
}

func (o *verifyOptions) offline() bool { return len(o.keyFiles) > 0 || o.jwks != "" }

func (o *verifyOptions) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(o.output); err != nil {
		return err
	}
	if o.offline() && o.live {
		return errors.New("--live: asks the API server, and --key-file and --jwks ask nobody; leave one out")
	}
	if o.settle < 0 {
		return errors.New("--signing-key-settle: is negative")
	}
	data, err := o.input.read(cmd, args)
	if err != nil {
		return err
	}
	found, err := tokentext.Read(data)
	if err != nil {
		return err
	}
	source, err := o.source(cmd)
	if err != nil {
		return err
	}
	var list verifiedList
	for i := range found {
		v, err := o.verify(cmd, &found[i], source)
		if err != nil {
			return err
		}
		list.Tokens = append(list.Tokens, *v)
	}
	if err := printAs(cmd.OutOrStdout(), o.output, list, func() { list.print(newPrinter(cmd.OutOrStdout()), o.now()) }); err != nil {
		return err
	}
	if slices.ContainsFunc(list.Tokens, func(v verified) bool { return v.Verdict != token.Valid.String() }) {
		return errFindings
	}
	return nil
}

// keySource says what is accepted, and what the cluster holds.
type keySource interface {
	// keys are those by which to judge the token.
	keys(ctx context.Context, t *token.Token, notify func(string)) (*token.KeySet, error)
	// gather looks up what the token names.
	gather(ctx context.Context, t *token.Checked) *facts.Set
	// name is where the keys come from.
	name() string
}

func (o *verifyOptions) source(cmd *cobra.Command) (keySource, error) {
	if o.offline() {
		return o.files()
	}
	if err := noCluster(o.cluster); err != nil {
		return nil, fmt.Errorf("%w, or keys with --key-file", err)
	}
	config, err := o.cluster.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	settle := o.settle
	if settle == 0 {
		settle = trust.DefaultSettle
	}
	follower, client, err := liveCluster(config, trust.Options{Issuers: o.issuers, Settle: settle})
	if err != nil {
		return nil, err
	}
	// Once for all tokens. Without a right to the keys objects still tell something.
	err = follower.Refresh(cmd.Context(), time.Now())
	switch {
	case err == nil:
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		cmd.PrintErrln("warning: you may not read the API server's keys: " + statusOf(err) +
			"\nGet the ClusterRole system:service-account-issuer-discovery, or give --key-file.")
	case apierrors.IsNotFound(err):
		cmd.PrintErrln("warning: the API server publishes no keys (its issuer is not https): give --key-file.")
	default:
		return nil, fmt.Errorf("can't read the API server's keys: %w", err)
	}
	return &liveKeys{options: o, follower: follower, client: client, config: config}, nil
}

// statusOf is the message of an API server, without what was done to get it.
func statusOf(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Message
	}
	return err.Error()
}

func (o *verifyOptions) files() (keySource, error) {
	keys, err := readKeys("key-file", o.keyFiles...)
	if err == nil && o.jwks != "" {
		var more []token.Key
		more, err = readKeys("jwks", o.jwks)
		keys = append(keys, more...)
	}
	if err != nil {
		return nil, err
	}
	return &givenKeys{options: o, given: keys}, nil
}

// readKeys reads the keys in files, and hides a file's name that may be a token.
func readKeys(flag string, files ...string) ([]token.Key, error) {
	keys, err := program.ReadKeys(flag, files...)
	var unread *fs.PathError
	if errors.As(err, &unread) {
		return nil, fileError(flag, unread.Path, unread)
	}
	return keys, err
}

// givenKeys are those of files.
type givenKeys struct {
	options *verifyOptions
	given   []token.Key
}

// keys takes the token's own issuer and audiences where none were given: that
// these were not checked is told.
func (k *givenKeys) keys(_ context.Context, t *token.Token, _ func(string)) (*token.KeySet, error) {
	set := token.KeySetOptions{Keys: k.given, Issuers: k.options.issuers, Audiences: k.options.audiences}
	if len(set.Issuers) == 0 {
		set.Issuers = []string{t.Claims.Issuer}
		if len(set.Audiences) == 0 {
			set.Audiences = t.Claims.Audiences
		}
	}
	return token.NewKeySet(set), nil
}

// gather says nothing but that a key which was not given is none of the API server's.
func (k *givenKeys) gather(_ context.Context, t *token.Checked) *facts.Set {
	set := &facts.Set{}
	if key, ok := facts.KeyOf(t); ok {
		set.Put(key, facts.Fact{State: facts.Absent, Fresh: true})
	}
	return set
}

func (k *givenKeys) name() string { return "the files that were given" }

// liveKeys are those of an API server.
type liveKeys struct {
	options  *verifyOptions
	follower *trust.Follower
	client   *cluster.Client
	config   *rest.Config
}

func (k *liveKeys) keys(ctx context.Context, t *token.Token, notify func(string)) (*token.KeySet, error) {
	keys := k.follower.Trust().Keys()
	if token.Check(t, keys).Signature.Reason == token.KeyUnsettled && k.options.settle > 0 {
		notify(fmt.Sprintf("The key of this token is not among those of the API server; watching them for %s.", k.options.settle))
		k.follower.Meet(token.Check(t, keys).SigningKey, "")
		// Twice the time is enough but where API servers often do not answer.
		ctx, cancel := context.WithTimeout(ctx, 2*k.options.settle+time.Second)
		defer cancel()
		if err := k.follower.Settle(ctx); err != nil {
			return nil, fmt.Errorf("can't read the API server's keys: %w", err)
		}
		keys = k.follower.Trust().Keys()
	}
	if len(k.options.audiences) > 0 {
		keys = keys.For(k.options.audiences)
	}
	return keys, nil
}

func (k *liveKeys) gather(ctx context.Context, t *token.Checked) *facts.Set {
	var queries []facts.Query
	facts.NamedBy(&t.Claims, func(o facts.Object) { queries = append(queries, facts.Query{Object: o, Contents: true}) })
	var set facts.Set
	for i, answer := range k.client.Answer(ctx, queries) {
		set.Put(queries[i].Object, answer)
	}
	if key, ok := facts.KeyOf(t); ok {
		set.Put(key, facts.Fact{State: k.follower.Key(key.Name), Why: facts.Unsettled})
	}
	return &set
}

func (k *liveKeys) name() string { return "the API server " + strings.TrimSuffix(k.config.Host, "/") }

// verify judges one token.
func (o *verifyOptions) verify(cmd *cobra.Command, f *tokentext.Found, source keySource) (*verified, error) {
	v := &verified{inspected: inspect(f, o.now()), Keys: source.name()}
	if f.Token == nil {
		v.judged(token.Result{Verdict: token.Invalid, Reason: token.Malformed}, "it was damaged: "+f.Damage.String(), "Copy it again, or get a new one.")
		return v, nil
	}
	t := f.Token
	keys, err := source.keys(cmd.Context(), t, func(text string) { cmd.PrintErrln(text) })
	if err != nil {
		return nil, err
	}
	set, checked := &facts.Set{}, token.Check(t, keys)
	if checked.Signature.Reason != token.ForeignIssuer {
		set = source.gather(cmd.Context(), &checked)
	}
	named := facts.Named(&facts.SecretToken{Checked: checked}, set.Get)
	now := o.now()
	for _, s := range token.Steps(t, keys, &named, now) {
		v.Steps = append(v.Steps, o.step(s, t, set, now))
	}
	result := token.Verify(t, keys, &named, now)
	text := result.Reason.Text()
	switch {
	case o.offline() && result.Reason == token.ObjectUnknown:
		text = "what it names was not looked at: no cluster was asked"
	case o.offline() && result.Reason == token.KeyGone:
		text = "its signature is of none of the keys that were given"
	case result.Reason == token.BadSignature && f.Damage != nil:
		text += ", and it was damaged: " + f.Damage.String()
	}
	v.judged(result, text, cureOf(result.Reason, &t.Claims, now))
	if o.live {
		if live, ok := source.(*liveKeys); ok {
			v.ask(cmd, live.config, f)
		}
	}
	return v, nil
}

// liveCluster returns what follows a cluster's keys, and what reads its objects.
func liveCluster(config *rest.Config, o trust.Options) (*trust.Follower, *cluster.Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // reads are bounded by cluster.ParallelReads
	follower, err := trust.New(config, o, metrics.New(), logr.Discard())
	if err != nil {
		return nil, nil, err
	}
	client, err := cluster.NewClient(config, cluster.Reducer{Trust: follower})
	return follower, client, err
}
