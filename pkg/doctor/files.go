package doctor

import (
	"cmp"
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation"

	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/tokentext"
)

const (
	noTokenVolume = `Nothing gave this pod a token. Either automountServiceAccountToken is false, of the pod or of its account: set it to true in the pod, or mount a projected token. Or the API server runs without the admission plugin ServiceAccount, and no pod gets one. In a container that kubectl debug has added, the token is that of the target: start it with --target=CONTAINER and --profile=sysadmin, or say with --root where the files of the target are (/proc/PID/root).`
	renew         = "kubectl tokenward token verify says whether it is otherwise good."
)

func (w *walk) tokenFile(context.Context) Step {
	path := w.TokenFile
	if path == "" {
		path = w.Config.BearerTokenFile
	}
	if path == "" {
		return ok("a token stands in the kubeconfig")
	}
	text, err := w.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && w.InPod:
		return failed("there is no "+path, noTokenVolume)
	case errors.Is(err, fs.ErrNotExist):
		return failed("there is no "+path, "Give the file with --token-file.")
	case errors.Is(err, fs.ErrPermission):
		return failed("may not read "+path, "The program runs as a user who may not read it: set securityContext.fsGroup in the pod, or runAsUser.")
	case err != nil:
		return failed("can't read "+path+": "+cause(err), "")
	case strings.TrimSpace(string(text)) == "":
		return failed(path+" is empty", "A token Secret that the token controller has not filled, or a file that somebody overwrote. Mount a projected token.")
	}
	w.config.BearerToken, w.config.BearerTokenFile = strings.TrimSpace(string(text)), ""
	return ok(fmt.Sprintf("%s, %d bytes%s", path, len(text), w.written(path)))
}

// written tells when a file was last written; the kubelet renews tokens.
func (w *walk) written(path string) string {
	at, err := w.Modified(path)
	if err != nil {
		return ""
	}
	return ", written " + duration.HumanDuration(w.Now().Sub(at)) + " ago"
}

func (w *walk) claims(context.Context) Step {
	t, err := token.Parse([]byte(w.config.BearerToken))
	if err == nil {
		w.token = t
		return ok(fmt.Sprintf("a %s token of %s", t.Claims.Kind, subject(t)))
	}
	found, readErr := tokentext.Read([]byte(w.config.BearerToken))
	var not *tokentext.NotToken
	switch {
	case errors.As(readErr, &not) && !w.InPod && strings.Contains(not.What, "opaque"):
		return note("an opaque token, in which nothing can be read", "")
	case readErr != nil:
		return failed(readErr.Error(), "Put a token into the file, as it is.")
	case found[0].Damage != nil:
		return failed("the token is damaged: "+found[0].Damage.String(), "Copy it again, or mount a projected token.")
	}
	return failed("a token, but not as it is: "+strings.Join(found[0].Undone, ", ")+" to read it", "Programs send what stands in the file: put the token there as it is, without anything around it.")
}

func subject(t *token.Token) string {
	c := &t.Claims
	text := c.Namespace + "/" + c.ServiceAccount.Name
	if c.Kind == token.Other || !areNames(text) {
		return "somebody who is no service account"
	}
	if c.Pod != nil && areNames(c.Pod.Name) {
		text += ", bound to the pod " + c.Pod.Name
	}
	return text
}

// areNames reports whether these are names of objects, separated by slashes: a
// token may say anything.
func areNames(text string) bool {
	for part := range strings.SplitSeq(text, "/") {
		if len(validation.IsDNS1123Subdomain(part)) > 0 {
			return false
		}
	}
	return true
}

func (w *walk) expiry(context.Context) Step {
	c, now := &w.token.Claims, w.Now()
	switch {
	case c.Kind == token.Legacy:
		return ok("never expires")
	case c.Expires.IsZero():
		return note("never expires, which no bound token should", "")
	case now.Add(-token.Leeway).After(c.Expires):
		cure := "Get a new one. " + renew
		if w.InPod {
			cure = "The kubelet renews the file, but not where it is mounted by subPath, and not a copy of it: mount the whole volume. If it is one, look at the kubelet's log: it can't get a token."
		}
		return failed("expired "+duration.HumanDuration(now.Sub(c.Expires))+" ago", cure)
	case c.NotBefore.After(now.Add(token.Leeway)):
		return failed("not valid before "+c.NotBefore.UTC().Format(time.RFC3339), "The clocks of this machine and of the API server differ: set them right.")
	}
	text := "expires in " + duration.HumanDuration(c.Expires.Sub(now))
	if w.InPod && c.Expires.Sub(now) < 10*time.Minute {
		return note(text, "The kubelet should have renewed it by now; the program must read the file again, too.")
	}
	return ok(text)
}

func (w *walk) namespace(context.Context) Step {
	text, err := w.ReadFile(w.NamespaceFile)
	name := strings.TrimSpace(string(text))
	switch {
	case err != nil:
		return note("can't read "+w.NamespaceFile+": "+cause(err), "Programs that look there for their namespace will not know it.")
	case len(validation.IsDNS1123Label(name)) > 0:
		return note(w.NamespaceFile+" holds no name of a namespace", "Programs that look there for their namespace will ask for the wrong one.")
	}
	if w.Namespace == "" {
		w.Namespace = name
	}
	if w.token != nil && w.token.Claims.Namespace != "" && w.token.Claims.Namespace != name {
		return note(name+", but the token is of an account of another namespace", "The files are of different volumes.")
	}
	return ok(name)
}

func (w *walk) ca(context.Context) Step {
	bundle, name := w.config.CAData, "the kubeconfig"
	path := w.CAFile
	if path == "" && len(bundle) == 0 {
		path = w.config.CAFile
	}
	if path != "" {
		text, err := w.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return failed("there is no "+path, "In a pod it comes from the ConfigMap kube-root-ca.crt. Give another file with --ca-file.")
		case err != nil:
			return failed("can't read "+path+": "+cause(err), "")
		}
		bundle, name = text, path
	}
	if len(bundle) == 0 {
		if w.config.Insecure {
			return note("the server's certificate is not verified", "Whoever is on the way can take the token.")
		}
		return ok("the CAs of this system")
	}
	certificates, err := token.ParseCertificates(bundle)
	if err != nil {
		return failed(name+": "+err.Error(), "It must hold the CA of the API server as PEM; the ConfigMap kube-root-ca.crt has it.")
	}
	w.bundle = bundle
	w.config.CAData, w.config.CAFile = bundle, ""
	names := make([]string, 0, len(certificates))
	for _, c := range certificates {
		if w.Now().After(c.NotAfter) {
			names = append(names, quoted(c.Subject)+" (expired "+duration.HumanDuration(w.Now().Sub(c.NotAfter))+" ago)")
			continue
		}
		names = append(names, quoted(c.Subject))
	}
	return ok(name + ": " + strings.Join(names, ", "))
}

// quoted is a name from a certificate, safe to print.
func quoted(name pkix.Name) string {
	return fmt.Sprintf("%.80q", cmp.Or(name.CommonName, name.String()))
}

// cause is the last of a chain of errors: what the system says.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
