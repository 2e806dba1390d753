package policy

import (
	"regexp"
	"strconv"
	"strings"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// MaxMessage bounds the line of one finding, its check's id included. The API
// server cuts every warning to this length once all of them together are
// longer than 4,096 (k8s.io/apiserver/pkg/endpoints/filters/warning.go).
const MaxMessage = 256

// maxCheckID leaves the message of a finding at least 220 characters.
const maxCheckID = 34

// message builds the text of a finding, with whole names; shorten makes it fit. write
// gets a function that quotes a name; control characters are escaped, so that no
// message has a line break.
func message(write func(quote func(string) string) string) string {
	return write(strconv.QuoteToASCII)
}

// quoted is a name in a message.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// shorten abbreviates the names in a message in the middle until it fits behind the
// id of its check; if that is not enough, it is cut.
func shorten(checkID, text string) string {
	limit := MaxMessage - len(checkID) - len(": ")
	if len(text) <= limit {
		return text
	}
	short := text
	// A Secret's name may have 253 characters, a key's as many.
	for _, n := range [...]int{253, 80, 48, 32, 20} {
		short = quoted.ReplaceAllStringFunc(text, func(name string) string { return abbreviate(name, n) })
		if len(short) <= limit {
			return short
		}
	}
	return short[:limit-len("...")] + "..."
}

// Message builds a line of at most MaxMessage characters that belongs to no
// check. write gets a function that quotes a name and abbreviates it if need be.
func Message(write func(quote func(string) string) string) string {
	return shorten("", message(write))
}

func quote(name string, n int) string { return abbreviate(strconv.QuoteToASCII(name), n) }

func abbreviate(quoted string, n int) string {
	if len(quoted) <= n+2 {
		return quoted
	}
	half := (n - len("...")) / 2
	return quoted[:1+half] + "..." + quoted[len(quoted)-1-half:]
}

// line is what a person reads of a finding: its check, then its message.
func (f *Finding) line() string { return f.Check + ": " + f.Message }

// missingText: `Secret "db" (spec.volumes[0].secret.secretName) does not exist: the pod will hang ...`
func missingText(r *reference.Reference, why facts.Why, cure func(quote func(string) string) string) string {
	return message(func(quote func(string) string) string {
		if r.Nameless() {
			return r.Path + " is empty: the API server refuses such a pod. Write the name of the " + string(r.Kind) + "."
		}
		return subject(r, quote) + " (" + r.Path + ") " + absentText(why) + r.Use.Consequence() + ". " + cure(quote)
	})
}

// absentText says no more than is known: what is not among some manifests may
// come from elsewhere.
func absentText(why facts.Why) string {
	if why == facts.NotGiven {
		return "is not among the manifests: unless something else makes it, "
	}
	return "does not exist: "
}

// missingKeyText: `Secret "db" has no key "user" (spec...items[0].key): the pod will hang ...`
func missingKeyText(r *reference.Reference, keys []reference.Key) string {
	return message(func(quote func(string) string) string {
		more := ""
		if len(keys) > 1 {
			more = ", nor " + strconv.Itoa(len(keys)-1) + " more that the pod asks for"
		}
		return subject(r, quote) + " has no key " + quote(keys[0].Name) + more + " (" + keys[0].Path + "): " +
			r.Use.Consequence() + ". Add the key, or correct its name."
	})
}

// unknownText: `Secret "db" (spec...) could not be looked up (forbidden): if it is missing, the pod ...`
func unknownText(r *reference.Reference, path, what string, why facts.Why) string {
	return message(func(quote func(string) string) string {
		return subject(r, quote) + " (" + path + ") could not be looked up (" + whyText(why) + "): if " + what +
			" missing, " + r.Use.Consequence() + ". " + whyCure(why)
	})
}

// unknownProviderText is for a Secret that does not exist, while it could not be
// found out whether the class makes it.
func unknownProviderText(r *reference.Reference, absent facts.Why, class facts.Object, why facts.Why) string {
	missing := "does not exist"
	if absent == facts.NotGiven {
		missing = "is not among the manifests"
	}
	return message(func(quote func(string) string) string {
		return subject(r, quote) + " (" + r.Path + ") " + missing + ", and whether " + string(class.Kind) + " " + quote(class.Name) +
			" makes it is unknown (" + whyText(why) + "): if not, " + r.Use.Consequence() + "."
	})
}

func subject(r *reference.Reference, quote func(string) string) string {
	if r.SignerName != "" {
		return "A " + string(r.Kind) + " of signer " + quote(r.SignerName)
	}
	return string(r.Kind) + " " + quote(r.Name)
}

func whyText(why facts.Why) string {
	switch why {
	case facts.NoReason:
		return "not asked"
	case facts.Declared:
		return "declared unknown"
	case facts.NotGiven:
		return "not among the manifests"
	case facts.Unauthorized:
		return "Tokenward's own token is refused"
	case facts.TooManyLookups:
		return "too many look-ups in this namespace just now: try again"
	case facts.Timeout, facts.Forbidden, facts.Throttled, facts.Failed, facts.NotServed, facts.Unsettled, facts.NotIndexed, facts.TooManyReferences:
	}
	return string(why)
}

func whyCure(why facts.Why) string {
	switch why {
	case facts.Forbidden:
		return "Grant Tokenward the right to get it."
	case facts.Unauthorized:
		return "The kubelet renews it within 10 minutes; kubectl rollout restart mends it at once."
	case facts.NotServed:
		return "The API server does not serve this kind."
	case facts.Declared:
		return "Declare it present or absent to know."
	case facts.NotGiven:
		return "Give its manifest, too, to know."
	case facts.TooManyReferences:
		return "Refer to fewer objects."
	case facts.TooManyLookups:
		return "A namespace may ask for only so much in a second."
	case facts.NoReason, facts.Timeout, facts.Throttled, facts.Failed, facts.Unsettled, facts.NotIndexed:
	}
	return "Try again; if it stays so, see Tokenward's log."
}

// joinLines makes one text of several findings, within limit characters.
func joinLines(lines []string, limit int) string {
	if len(lines) == 1 {
		return lines[0]
	}
	var b strings.Builder
	b.WriteString(strconv.Itoa(len(lines)) + " findings:")
	for i, l := range lines {
		part := " (" + strconv.Itoa(i+1) + ") " + l
		if b.Len()+len(part) > limit-len(" and 1000 more") {
			b.WriteString(" and " + strconv.Itoa(len(lines)-i) + " more")
			break
		}
		b.WriteString(part)
	}
	return b.String()
}
