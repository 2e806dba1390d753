package audit

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	reportsclient "github.com/openreports/reports-api/pkg/client/clientset/versioned/typed/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	tokenward "tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/rollup"
)

const (
	managedBy = "app.kubernetes.io/managed-by"
	program   = "tokenward"
	// What is written.
	kindReport, kindEvent = "Report", "Event"
	// maxResults bounds a report: an object in etcd has 1.5 MB at most.
	maxResults = 200
)

// storedReports returns the reports in a namespace by name; nil where they can't be
// written either.
func (a *Auditor) storedReports(ctx context.Context, client reportsclient.ReportInterface) (map[string]*v1alpha1.Report, error) {
	stored := map[string]*v1alpha1.Report{}
	options := metav1.ListOptions{LabelSelector: managedBy + "=" + program, Limit: listing.PageSize}
	for {
		list, err := client.List(ctx, options)
		switch cluster.WhyNot(err) {
		case facts.NotServed: // a cluster need not have them
			if !a.withoutReports {
				a.Log.Info("No reports are written: the CustomResourceDefinitions of OpenReports are not installed. To have reports, install them (https://openreports.io); findings are in the metrics")
			}
			a.withoutReports = true
			return nil, nil
		case facts.Forbidden:
			a.logOnce("reports", err, "Reports can't be written: grant list, create, update and delete of reports.openreports.io; findings are in the metrics")
			return nil, nil
		default:
		}
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			stored[list.Items[i].Name] = &list.Items[i]
		}
		if options.Continue = list.Continue; options.Continue == "" {
			a.logOnce("reports", nil, "")
			return stored, nil
		}
	}
}

// writeReports makes the reports in a namespace those of what was found. It writes
// only those that say something else than the stored ones. One that the API server
// does not take keeps no other from being written.
func (a *Auditor) writeReports(ctx context.Context, namespace string, found *namespaceFaults, settled bool) error {
	client := a.Reports.OpenreportsV1alpha1().Reports(namespace)
	stored, err := a.storedReports(ctx, client)
	if err != nil || stored == nil {
		return err
	}
	refused := a.refusalsOf(kindReport, namespace)
	for _, w := range found.Rollup {
		if len(w.Faults) == 0 {
			continue
		}
		desired := openReport(namespace, w, a.Now())
		old := stored[desired.Name]
		delete(stored, desired.Name)
		if old != nil && !settled {
			keepKnown(old, desired, w.Faults)
		}
		summarize(desired)
		switch {
		case old == nil:
			err = a.create(ctx, client, desired)
		case !sameReport(old, desired):
			desired.ResourceVersion = old.ResourceVersion
			_, err = client.Update(ctx, desired, metav1.UpdateOptions{})
			err = a.wrote("update", err)
		}
		if err = refused.note(desired.Name, w.Ref.String(), err); err != nil {
			return err
		}
	}
	for name, old := range stored { // clean now, or of an owner that is gone
		if found.unseen(old.Scope) {
			continue
		}
		err = a.wrote("delete", client.Delete(ctx, name, metav1.DeleteOptions{}))
		if err = refused.note(name, "an owner without a fault", err); err != nil {
			return err
		}
	}
	return refused.again
}

func (a *Auditor) create(ctx context.Context, client reportsclient.ReportInterface, desired *v1alpha1.Report) error {
	_, err := client.Create(ctx, desired, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return a.wrote("create", err)
	}
	// Somebody took the label away by which it would have been listed.
	old, err := client.Get(ctx, desired.Name, metav1.GetOptions{})
	if err == nil {
		desired.ResourceVersion = old.ResourceVersion
		_, err = client.Update(ctx, desired, metav1.UpdateOptions{})
	}
	return a.wrote("update", err)
}

// wrote counts a write. That a namespace or an owner went meanwhile is no error.
func (a *Auditor) wrote(operation string, err error) error {
	if apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	switch {
	case isRefused(err):
		operation = "refused"
	case err != nil:
		operation = "error"
	}
	a.Metrics.AuditReports.WithLabelValues(operation).Inc()
	return err
}

// openReport returns the report on a workload.
func openReport(namespace string, w *rollup.Workload, now time.Time) *v1alpha1.Report {
	r := &v1alpha1.Report{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: program + "-" + w.Ref.UID,
			Labels: map[string]string{managedBy: program},
			// With the owner goes its report.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: w.Ref.APIVersion, Kind: w.Ref.Kind, Name: w.Ref.Name, UID: types.UID(w.Ref.UID)}},
		},
		Source: program,
		Scope:  objectReference(w.Ref),
		Configuration: &v1alpha1.ReportConfiguration{Limits: v1alpha1.Limits{
			MaxResults: maxResults, StatusFilter: []v1alpha1.StatusFilter{"fail", "warn", "error", "skip"},
		}},
	}
	slices.SortFunc(w.Faults, func(a, b *rollup.Fault) int {
		return strings.Compare(a.Check+" "+a.PodPath+" "+a.Object.String(), b.Check+" "+b.PodPath+" "+b.Object.String())
	})
	for _, f := range w.Faults[:min(len(w.Faults), maxResults)] {
		r.Results = append(r.Results, openResult(w, f, now))
	}
	return r
}

func summarize(r *v1alpha1.Report) {
	for i := range r.Results {
		switch r.Results[i].Result {
		case "fail":
			r.Summary.Fail++
		case "warn":
			r.Summary.Warn++
		case "error":
			r.Summary.Error++
		case "skip":
			r.Summary.Skip++
		}
	}
}

// keepKnown puts what a report has of the validity of tokens in the place of what
// is found for now: a replica that starts does not know at once which keys are
// gone, and would tell another reason, or none, of a token that is as dead as ever.
//
// The results of desired are those of faults, in the same order.
func keepKnown(old, desired *v1alpha1.Report, faults []*rollup.Fault) {
	for i := range desired.Results {
		d := &desired.Results[i]
		if !faults[i].UsesTrust {
			continue
		}
		if at := slices.IndexFunc(old.Results, func(o v1alpha1.ReportResult) bool { return sameFault(&o, d) }); at >= 0 {
			*d = old.Results[at]
		}
	}
}

func sameFault(a, b *v1alpha1.ReportResult) bool {
	return a.Rule == b.Rule && a.Properties["path"] == b.Properties["path"] && a.Properties["object"] == b.Properties["object"]
}

func objectReference(ref report.Ref) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, UID: types.UID(ref.UID)}
}

func openResult(w *rollup.Workload, f *rollup.Fault, now time.Time) v1alpha1.ReportResult {
	policies := f.Policies
	if f.Action == "" {
		policies = f.WouldPolicies
	}
	policy := ""
	if len(policies) > 0 {
		policy = policies[0]
	}
	result := v1alpha1.ReportResult{
		Source: program, Policy: policy, Rule: f.Check, Category: f.Category.String(), Severity: severity(f),
		Timestamp: metav1.Timestamp{Seconds: now.Unix()}, Result: outcome(f), Scored: outcome(f) == "fail",
		Description: f.Message,
		Properties:  map[string]string{"state": f.State.String(), "object": f.Object.String(), "path": f.Path},
	}
	for name, value := range map[string]string{
		"action": string(f.Action), "would": string(f.Would), "when": f.When(w), "exempted": f.Exempted, "policies": strings.Join(policies, ","),
	} {
		if value != "" {
			result.Properties[name] = value
		}
	}
	if w.Bare {
		result.Properties["bare"] = "true" // nobody makes this pod again
	}
	at := slices.Clone(f.At)
	slices.SortFunc(at, func(a, b report.Ref) int { return strings.Compare(a.Kind+" "+a.Name, b.Kind+" "+b.Name) })
	for _, ref := range at {
		result.Subjects = append(result.Subjects, *objectReference(ref))
	}
	return result
}

// outcome maps a finding to what OpenReports knows: fail is scored and warn is
// not, error could not be evaluated, skip was not to be.
func outcome(f *rollup.Fault) v1alpha1.Result {
	switch {
	case f.State == facts.Unknown:
		return "error"
	case f.Exempted != "":
		return "skip"
	case f.Action == tokenward.Deny:
		return "fail"
	}
	return "warn"
}

// severity is that of the check, and more where pods wait for what is missing.
func severity(f *rollup.Fault) v1alpha1.ResultSeverity {
	switch {
	case f.State == facts.Unknown:
		return "info"
	case f.Effect != policy.BreaksNothing && f.Stuck > 0:
		return "critical"
	}
	return v1alpha1.ResultSeverity(f.Severity.String())
}

// sameReport reports whether two reports say the same, whenever each finding was
// first seen; if not, the new one gets the times of what it has in common with
// the old one.
func sameReport(old, desired *v1alpha1.Report) bool {
	for i := range desired.Results {
		d := &desired.Results[i]
		at := slices.IndexFunc(old.Results, func(o v1alpha1.ReportResult) bool {
			return sameFault(&o, d) && o.Result == d.Result
		})
		if at >= 0 {
			d.Timestamp = old.Results[at].Timestamp
		}
	}
	return equality.Semantic.DeepEqual(old.Results, desired.Results) && old.Summary == desired.Summary && old.Source == desired.Source &&
		equality.Semantic.DeepEqual(old.Scope, desired.Scope) && equality.Semantic.DeepEqual(old.Configuration, desired.Configuration) &&
		equality.Semantic.DeepEqual(old.OwnerReferences, desired.OwnerReferences)
}
