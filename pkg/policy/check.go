package policy

import (
	"fmt"
	"regexp"
	"time"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

// Check is one row of the table: what it finds, and how.
type Check struct {
	// ID is stable: policies, metrics and docs name the check by it.
	ID string
	// Title is one line that completes "finds ...".
	Title string
	// Problem tells in Markdown what goes wrong when the check finds something.
	Problem string
	// Remedy tells in Markdown how to mend it.
	Remedy string
	// Default is what the check leads to in the built-in policy.
	Default v1alpha1.Action
	// Subject is which requests the check is for.
	Subject Subject
	// Impact is what its findings mean to the pod, to reports and to whoever waits.
	Impact
	// Parameters names the fields of v1alpha1.Parameters that the check reads.
	Parameters []string
	// ReadsSecrets is set where the check reads Input.Secrets. Their contents are
	// asked for once, for all such checks.
	ReadsSecrets bool
	// Needs asks for the facts that Find will read, given those that are known
	// so far. It is called again until it asks for nothing new. nil where the pod
	// alone says it all.
	Needs func(in *Input, ask func(facts.Query))
	// Find reports what is wrong. It is a pure function of its input.
	Find func(in *Input, report func(Finding))
}

// Input is all that a check may look at.
type Input struct {
	Pod workload.Pod
	// Old is the pod before an UPDATE; nil otherwise.
	Old        *workload.Pod
	Namespace  string
	References []reference.Reference
	Facts      *facts.Set
	Parameters Parameters
	Now        time.Time
	// Secrets are the Secrets whose values the pod hands to containers. It is
	// there for the checks that have ReadsSecrets.
	Secrets []UsedSecret
	// UnknownDenies is set where a policy denies for what is unknown, so that such
	// a finding must be confirmed, too.
	UnknownDenies bool
	// toldOfBound is set once one reference stands for all whose objects are beyond the
	// bound of a review, and while questions are asked: those would not be answered.
	toldOfBound bool
	// Gone is the object as if which did not exist the pod is judged; nil for none.
	Gone *Gone
	// Written is the Secret or account that is written; nil where a pod is judged.
	Written *Written

	providers providers
}

// Parameters are the parameters of a check with defaults filled in. They are
// comparable: a check runs once for each distinct value.
type Parameters struct {
	GracePeriod time.Duration
}

// Finding is one thing that a check found at one field.
type Finding struct {
	Check string
	// Impact is what the table says of the check.
	Impact
	// Path of the leaf field at fault.
	Path   string
	Object facts.Object
	// State is Unknown where the check could not find out, for the reason Why.
	State facts.State
	Why   facts.Why
	// Subject is what the finding is about, where that is not the request's own object:
	// "Deployment shop/web".
	Subject string
	// Message tells what, where, what will happen and the cure, without a line break;
	// in at most MaxMessage characters, unless the options want whole messages.
	Message string
	// Echo marks what another finding says as well: that a Secret could not be read
	// (secret-exists), or, for a template, what its pods will be found to have. The
	// policy default does not record it again; others do, where they list the check.
	Echo bool
	// atOnce is set where something breaks as soon as an object is gone.
	atOnce bool

	// The rest is the verdict's.

	// Action is what the policies made of the finding.
	Action v1alpha1.Action
	// Policies that asked for that action.
	Policies []string
	// Exempted names the exemption that brought the action down, with its reason.
	Exempted string
}

// Checks returns the table of checks, in the order in which findings appear.
func Checks() []Check {
	return []Check{
		secretExists(),
		secretKeyExists(),
		imagePullSecretExists(),
		configMapExists(),
		trustBundleExists(),
		serviceAccountExists(),
		tokenSecretPopulated(),
		tokenSecretOwner(),
		tokenValid(),
		tokenCACurrent(),
		tokenOwnAccount(),
		tokenLongLived(),
		tokenInEnvironment(),
		secretInEnvironment(),
		tokenDefaultAccount(),
		tokenRequired(),
		tokenMounted(),
		secretInUse(),
		serviceAccountInUse(),
		tokenSecretCreated(),
		accountAutomount(),
	}
}

var checkID = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// ValidateChecks reports what is wrong with a table of checks. Programs call
// it at start, so that a careless row never gets as far as a pod.
func ValidateChecks(checks []Check) error {
	seen := map[string]bool{}
	for i := range checks {
		c := &checks[i]
		switch {
		case !checkID.MatchString(c.ID) || len(c.ID) > maxCheckID:
			return fmt.Errorf("check %d: id %q: want lower-case words joined by '-', at most %d characters", i, c.ID, maxCheckID)
		case seen[c.ID]:
			return fmt.Errorf("check %s: the id is there twice", c.ID)
		case c.Title == "" || c.Problem == "" || c.Remedy == "":
			return fmt.Errorf("check %s: title, problem and remedy must be told", c.ID)
		case c.Default.Strength() < 0:
			return fmt.Errorf("check %s: default %q is no action", c.ID, c.Default)
		case c.Find == nil:
			return fmt.Errorf("check %s: find must be given", c.ID)
		}
		if err := c.validate(); err != nil {
			return fmt.Errorf("check %s: %w", c.ID, err)
		}
		seen[c.ID] = true
	}
	return nil
}
