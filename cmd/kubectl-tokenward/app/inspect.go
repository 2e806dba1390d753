package app

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/printable"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/tokentext"
)

func newInspectCommand(now func() time.Time) *cobra.Command {
	var input tokenInput
	output := formatTable
	command := &cobra.Command{
		Use:   "inspect [TOKEN|-]",
		Short: "Read a token: whose it is, what it is bound to, until when",
		Long: `Read a token: whose it is, what it is bound to, and until when. Nothing is sent
anywhere, no kubeconfig is read, and the signature is never printed. Whether
the token is any good, "token verify" says.

` + tokenForms + `

What had to be undone is told. A token that was damaged on its way (a character
lost, an end cut off, two tokens in one) is not mended, but the damage is named.

Exit status: 0 read, 1 damaged, 2 no token or not readable.`,
		Example: `  kubectl get secret robot-token -o yaml | kubectl tokenward token inspect
  kubectl create token robot | kubectl tokenward token inspect -o json
  kubectl tokenward token inspect -f /var/run/secrets/kubernetes.io/serviceaccount/token`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			data, err := input.read(cmd, args)
			if err != nil {
				return err
			}
			found, err := tokentext.Read(data)
			if err != nil {
				return err
			}
			at := now()
			list := inspectedList{Tokens: make([]inspected, len(found))}
			for i := range found {
				list.Tokens[i] = inspect(&found[i], at)
			}
			err = printAs(cmd.OutOrStdout(), output, list, func() {
				p := newPrinter(cmd.OutOrStdout())
				for i := range list.Tokens {
					if i > 0 {
						p.line("")
					}
					p.rows(list.Tokens[i].rows(at))
				}
			})
			if err == nil && slices.ContainsFunc(found, func(f tokentext.Found) bool { return f.Damage != nil }) {
				return errFindings
			}
			return err
		},
	}
	input.addFlags(command)
	addOutputFlag(command, &output)
	return command
}

func addOutputFlag(command *cobra.Command, output *string) {
	command.Flags().StringVarP(output, "output", "o", *output, "table, json or yaml")
	completeWords(command, "output", formatTable, formatJSON, formatYAML)
}

type inspectedList struct {
	Tokens []inspected `json:"tokens"`
}

// inspected is what can be told of a token without asking anybody.
type inspected struct {
	Where  string   `json:"where,omitempty"`
	Undone []string `json:"undone,omitempty"`
	Damage string   `json:"damage,omitempty"`

	Kind           string     `json:"kind,omitempty"`
	Subject        string     `json:"subject,omitempty"`
	Namespace      string     `json:"namespace,omitempty"`
	ServiceAccount *token.Ref `json:"serviceAccount,omitempty"`
	Secret         *token.Ref `json:"secret,omitempty"`
	Pod            *token.Ref `json:"pod,omitempty"`
	Node           *token.Ref `json:"node,omitempty"`
	Issuer         string     `json:"issuer,omitempty"`
	Audiences      []string   `json:"audiences,omitempty"`
	ID             string     `json:"id,omitempty"`
	Algorithm      string     `json:"algorithm,omitempty"`
	KeyID          string     `json:"keyID,omitempty"`
	IssuedAt       *time.Time `json:"issuedAt,omitempty"`
	NotBefore      *time.Time `json:"notBefore,omitempty"`
	Expires        *time.Time `json:"expires,omitempty"`
	Expired        bool       `json:"expired,omitempty"`
	WarnAfter      *time.Time `json:"warnAfter,omitempty"`
	Notes          []string   `json:"notes,omitempty"`
}

func inspect(f *tokentext.Found, now time.Time) inspected {
	out := inspected{Where: f.Where, Undone: f.Undone, Algorithm: f.Algorithm, KeyID: f.KeyID}
	if f.Damage != nil {
		out.Damage = f.Damage.String()
	}
	c := f.Claims
	if c == nil {
		return out
	}
	out.Kind, out.Subject, out.Namespace = c.Kind.String(), c.Subject, c.Namespace
	if c.ServiceAccount.Name != "" {
		out.ServiceAccount = &c.ServiceAccount
	}
	out.Secret, out.Pod, out.Node = c.Secret, c.Pod, c.Node
	out.Issuer, out.Audiences, out.ID = c.Issuer, c.Audiences, c.ID
	out.IssuedAt, out.NotBefore = known(c.IssuedAt), known(c.NotBefore)
	out.Expires, out.WarnAfter = known(c.Expires), known(c.WarnAfter)
	out.Expired = out.Expires != nil && out.Expires.Before(now)
	out.Notes = notes(f)
	return out
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// notes are what people should know that the claims alone don't tell.
func notes(f *tokentext.Found) []string {
	var out []string
	c := f.Claims
	if c.Kind != token.Other && c.Subject != "system:serviceaccount:"+c.Namespace+":"+c.ServiceAccount.Name {
		out = append(out, "The subject is not the account that the token names.")
	}
	if strings.HasPrefix(f.Where, "Secret") && f.EncodedTwice() {
		out = append(out, "The Secret holds base64 of base64: a pod that mounts it gets no token, and answers are 401.")
	}
	if f.Damage != nil && f.Token == nil {
		out = append(out, "No API server takes a damaged token. Copy it again, or get a new one.")
	}
	return out
}

// rows are the same in people's words.
func (t *inspected) rows(now time.Time) []row {
	rows := []row{
		{"Damage", t.Damage, red},
		{"Found in", t.Where, plain},
		{"Undone", strings.Join(t.Undone, "\n"), plain},
		{"Token of", printable.Name(t.Subject), bold},
		{"Kind", kindText(t.Kind), plain},
		{"Namespace", printable.Name(t.Namespace), plain},
		{"Account", refText(t.ServiceAccount), plain},
	}
	switch {
	case t.Pod != nil:
		rows = append(rows, row{"Bound to pod", refText(t.Pod), plain}, row{"On node", refText(t.Node), plain})
	case t.Node != nil:
		rows = append(rows, row{"Bound to node", refText(t.Node), plain})
	}
	secret := "Bound to Secret"
	if t.Kind == token.Legacy.String() {
		secret = "In Secret"
	}
	audiences := make([]string, len(t.Audiences))
	for i, a := range t.Audiences {
		audiences[i] = printable.Name(a)
	}
	return append(rows, []row{
		{secret, refText(t.Secret), plain},
		{"Issuer", printable.Name(t.Issuer), plain},
		{"Audiences", strings.Join(audiences, "\n"), plain},
		{"Token id", printable.Name(t.ID), plain},
		{"Algorithm", printable.Name(t.Algorithm), plain},
		{"Key id", printable.Name(t.KeyID), plain},
		{"Issued", whenKnown(t.IssuedAt, now), plain},
		{"Not before", t.notBefore(now), yellow},
		{"Warns after", whenKnown(t.WarnAfter, now), plain},
		t.expiry(now),
		{"Note", strings.Join(t.Notes, "\n"), yellow},
	}...)
}

func whenKnown(t *time.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	return when(*t, now)
}

// notBefore is told where it says anything.
func (t *inspected) notBefore(now time.Time) string {
	if t.NotBefore == nil || t.NotBefore.Before(now) {
		return ""
	}
	return whenKnown(t.NotBefore, now)
}

func (t *inspected) expiry(now time.Time) row {
	switch {
	case t.Expires == nil && t.Kind == "":
		return row{}
	case t.Expires == nil:
		return row{"Expires", "never", yellow}
	case t.Expired:
		return row{"Expired", whenKnown(t.Expires, now), red}
	}
	return row{"Expires", whenKnown(t.Expires, now), green}
}

func kindText(kind string) string {
	switch kind {
	case token.Legacy.String():
		return "legacy: it lives in a Secret, and ends with it"
	case token.Bound.String():
		return "bound: it expires, and ends with what it is bound to"
	case token.Other.String():
		return "a JWT, but not of a service account"
	}
	return ""
}

func refText(r *token.Ref) string {
	switch {
	case r == nil:
		return ""
	case r.UID == "":
		return printable.Name(r.Name)
	}
	return fmt.Sprintf("%s (uid %s)", printable.Name(r.Name), printable.Name(r.UID))
}
