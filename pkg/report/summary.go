package report

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
)

// summary counts.
type summary struct {
	Objects int `json:"objects"`
	Deny    int `json:"deny"`
	Hold    int `json:"hold"`
	Warn    int `json:"warn"`
	Audit   int `json:"audit"`
	// Unknown of the findings above are for want of knowledge, not for a fault.
	Unknown int `json:"unknown"`
	// DryRun counts what policies in dry run have something to say of.
	DryRun int `json:"dryRun"`
	// Accepted findings, which count nowhere else.
	Accepted int `json:"accepted"`
	// Made and LikelyMade count what something else makes.
	Made       int `json:"made"`
	LikelyMade int `json:"likelyMade"`
	// Errors, objects that were not judged, and what was passed over.
	Errors     int `json:"errors"`
	Unjudged   int `json:"unjudged"`
	PassedOver int `json:"passedOver"`
}

// summary returns how many findings there are of each kind.
func (r *Report) summary() summary {
	s := summary{Objects: len(r.Objects), Errors: len(r.Errors), PassedOver: len(r.PassedOver)}
	for _, u := range r.Unjudged {
		s.Unjudged += u.Count
	}
	for _, p := range r.Provided {
		if p.Likely {
			s.LikelyMade++
		} else {
			s.Made++
		}
	}
	for i := range r.Results {
		f := &r.Results[i]
		if f.Accepted != "" {
			s.Accepted++
			continue
		}
		if f.Would != "" {
			s.DryRun++
		}
		switch f.Action {
		case v1alpha1.Deny:
			s.Deny++
		case v1alpha1.Hold:
			s.Hold++
		case v1alpha1.Warn:
			s.Warn++
		case v1alpha1.Audit:
			s.Audit++
		case v1alpha1.None:
		}
		if f.Action != "" && f.State == facts.Unknown.String() {
			s.Unknown++
		}
	}
	return s
}
