package servingcert

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// attempts bounds how often one step starts again because another replica wrote
// first. The next step goes on.
const attempts = 5

// step brings everything to where it must be now.
func (s *Shared) step(ctx context.Context) error {
	for range attempts {
		again, err := s.attempt(ctx)
		if err != nil || !again {
			return err
		}
	}
	return nil
}

// attempt takes a step from one state of the Secret. It returns true if the Secret
// changed meanwhile, and another attempt is needed.
func (s *Shared) attempt(ctx context.Context) (again bool, err error) {
	s.mu.Lock()
	known, secret, doubt := s.known, s.secret, s.doubt
	s.mu.Unlock()
	if !known {
		return false, nil
	}
	if doubt {
		if changed, err := s.reread(ctx, secret); err != nil || changed {
			return err == nil, err
		}
	}
	now := s.options.Now()
	was := state{}
	if secret != nil {
		was = parse(secret.Data)
	}
	was = was.merge(s.memory)
	if was.issuer(was.serving, now) < 0 {
		was.serving = s.memory.serving
	}
	s.noteTrust(was, now)
	next, err := s.rules.advance(was, now, func(ca *x509.Certificate) bool { return s.published(ca, now) })
	if err != nil {
		return false, err
	}
	again, err = s.write(ctx, secret, next)
	if again {
		return true, err
	}
	if err != nil && !errors.Is(err, errNoSecret) {
		// What there is goes on being served and trusted.
		next = was
	}
	s.memory = next
	s.serve(next, now)
	again, published := s.publish(ctx, func(have []byte) []byte { return s.bundle(have, next, secret, now) })
	if u := s.served.Load(); u != nil && !s.ready.Load() && s.trustedByAll(u.ca) && (secret != nil || s.published(u.ca, now)) {
		s.ready.Store(true)
	}
	return again, errors.Join(err, published)
}

// errNoSecret is why a replica goes on with what it has in memory.
var errNoSecret = errors.New("the Secret does not exist, so that each replica goes on with what it has in memory, and one that starts makes a CA of its own: make it again with \"helm upgrade\"")

// bundle returns what caBundle must be: what the Secret says. While there is no
// Secret, and for some time after it was made, a replica may serve with an
// authority that is not in there. Such authorities stay, the newest of them.
func (s *Shared) bundle(have []byte, next state, secret *corev1.Secret, now time.Time) []byte {
	if secret != nil && now.Sub(secret.CreationTimestamp.Time) >= gatherFor*s.settle {
		return next.bundle()
	}
	others := parse(map[string][]byte{bundleKey: have})
	others.authorities = slices.DeleteFunc(others.authorities, func(a authority) bool { return now.After(a.cert.NotAfter) })
	others.authorities = others.authorities[:min(len(others.authorities), maxGathered)]
	return next.merge(others).bundle()
}

const (
	// gatherFor is how many times settle the replicas have to put what they remember
	// into a new Secret.
	gatherFor = 10
	// maxGathered bounds caBundle while replicas without a Secret come and go.
	maxGathered = 32
)

// observe notes a state of the Secret, nil if it does not exist, unless a later one
// is known. Then the next step reads the Secret again: after a restore of etcd the
// later one is no more.
func (s *Shared) observe(secret *corev1.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret != nil && s.secret != nil && secret.UID == s.secret.UID {
		if order, err := resourceversion.CompareResourceVersion(secret.ResourceVersion, s.secret.ResourceVersion); err == nil && order <= 0 {
			s.doubt = s.doubt || order < 0
			return
		}
	}
	s.known, s.secret = true, secret
}

// reread reads the Secret again, and reports whether it is another than was seen.
func (s *Shared) reread(ctx context.Context, seen *corev1.Secret) (bool, error) {
	s.mu.Lock()
	before := s.secret
	s.mu.Unlock()
	secret, err := s.secrets.Get(ctx, s.options.Secret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		secret = nil
	case err != nil:
		return false, err
	}
	s.mu.Lock()
	unmoved := s.secret == before
	if unmoved { // what is there now counts, be its version an earlier one
		s.known, s.secret, s.doubt = true, secret, false
	}
	s.mu.Unlock()
	if !unmoved {
		s.observe(secret)
	}
	if secret == nil || seen == nil {
		return secret != seen, nil
	}
	return secret.UID != seen.UID || secret.ResourceVersion != seen.ResourceVersion, nil
}

// write writes a state to the Secret. If another replica wrote first, it reads what
// that one wrote, and returns true: the step must start again.
func (s *Shared) write(ctx context.Context, secret *corev1.Secret, next state) (again bool, err error) {
	if secret == nil {
		return false, errNoSecret
	}
	data, err := next.data()
	if err != nil {
		return false, err
	}
	if hasData(secret.Data, data) {
		return false, nil
	}
	changed := secret.DeepCopy()
	if changed.Data == nil {
		changed.Data = map[string][]byte{}
	}
	for key, value := range data {
		changed.Data[key] = value
	}
	written, err := s.secrets.Update(ctx, changed, metav1.UpdateOptions{FieldManager: fieldManager})
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		_, err := s.reread(ctx, secret)
		return err == nil, err
	case err != nil:
		return false, err
	}
	s.log.Info("Wrote the Secret with the serving certificate", "secret", s.options.Namespace+"/"+s.options.Secret)
	s.observe(written)
	return false, nil
}

// hasData reports whether a Secret has all of the wanted data.
func hasData(have, want map[string][]byte) bool {
	for key, value := range want {
		if !bytes.Equal(have[key], value) {
			return false
		}
	}
	return true
}

// noteTrust notes since when the webhook configurations have each authority.
func (s *Shared) noteTrust(current state, now time.Time) {
	trusted := map[string]time.Time{}
	for _, a := range current.authorities {
		if !s.trustedByAll(a.cert) {
			continue
		}
		since, ok := s.trusted[string(a.cert.Raw)]
		if !ok {
			since = now
		}
		trusted[string(a.cert.Raw)] = since
	}
	s.trusted = trusted
}

func (s *Shared) trustedByAll(ca *x509.Certificate) bool {
	for _, r := range s.registrations {
		if !r.trusts(ca) {
			return false
		}
	}
	return true
}

// published reports whether all API servers trust an authority by now.
func (s *Shared) published(ca *x509.Certificate, now time.Time) bool {
	since, ok := s.trusted[string(ca.Raw)]
	return ok && now.Sub(since) >= s.settle
}

// serve starts to serve the certificate of a state. While the current one is good,
// a certificate of an authority that is not trusted yet has to wait.
func (s *Shared) serve(next state, now time.Time) {
	if i := next.issuer(next.serving, now); i >= 0 {
		ca, current := next.authorities[i].cert, s.served.Load()
		if current == nil || now.After(current.cert.Leaf.NotAfter) || ca.Equal(current.ca) || s.published(ca, now) {
			if current == nil || !current.cert.Leaf.Equal(next.serving.Leaf) {
				s.served.Store(&servedCertificate{cert: next.serving, ca: ca})
				s.log.Info("Serving with another certificate", "notAfter", next.serving.Leaf.NotAfter, "caNotAfter", ca.NotAfter)
			}
		}
	}
}

// publish sets caBundle in the webhook configurations where it is not what bundle
// makes of it. It returns true if the Secret changed meanwhile, and the bundle with
// it: a replica that is behind must not remove what another one has just added.
func (s *Shared) publish(ctx context.Context, bundle func(have []byte) []byte) (again bool, err error) {
	var errs []error
	for _, r := range s.registrations {
		patch, err := r.caBundlePatch(bundle)
		if err != nil || patch == nil {
			errs = append(errs, err)
			continue
		}
		s.mu.Lock()
		secret := s.secret
		s.mu.Unlock()
		if changed, err := s.reread(ctx, secret); err != nil || changed {
			return err == nil, errors.Join(append(errs, err)...)
		}
		switch mended, err := r.apply(ctx, patch); {
		case err != nil:
			errs = append(errs, err)
		case mended:
			s.log.Info("Set caBundle of a webhook configuration", "kind", r.kind, "name", r.name)
			if s.options.Mended != nil {
				s.options.Mended()
			}
		}
	}
	return false, errors.Join(errs...)
}
