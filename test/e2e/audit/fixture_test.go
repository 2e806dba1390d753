package audit

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// The size of the cluster that is audited, namespace by namespace.
const (
	auditNamespaces  = 20
	auditDeployments = 15 // in each
	auditSecrets     = 50
	auditPods        = 100
	auditBarePods    = 10 // of those
)

// planted is a cluster with faults that are known.
type planted struct {
	client kubernetes.Interface
	// mint makes a token of the account robot that no key of the cluster signed.
	mint       func(namespace string, robot types.UID) string
	namespaces []string

	mu sync.Mutex
	// want has the findings by workload: "check object state", sorted.
	want map[string][]string
	// mounts has Deployments without a fault that mount a Secret, by namespace.
	mounts map[string]mounting
	pods   int
}

type mounting struct{ deployment, secret string }

// plant makes the cluster from a seed.
func plant(t *testing.T, c kubernetes.Interface, seed uint64) *planted {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &planted{client: c, want: map[string][]string{}, mounts: map[string]mounting{}}
	errs := make([]error, auditNamespaces)
	var group sync.WaitGroup
	for i := range auditNamespaces {
		name := fmt.Sprintf("audit-%02d", i)
		p.namespaces = append(p.namespaces, name)
	}
	p.mint = func(ns string, robot types.UID) string {
		return harness.Mint(t, jose.RS256, key, "a-key-of-yesterday", map[string]any{
			"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:" + ns + ":robot",
			"kubernetes.io/serviceaccount/namespace": ns, "kubernetes.io/serviceaccount/secret.name": "robot-old",
			"kubernetes.io/serviceaccount/service-account.name": "robot", "kubernetes.io/serviceaccount/service-account.uid": string(robot),
		})
	}
	for i, name := range p.namespaces {
		group.Go(func() {
			errs[i] = p.fill(t.Context(), name, mathrand.New(mathrand.NewPCG(seed, uint64(i))))
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	harness.WaitUntil(t, func() error {
		n := 0
		for _, ns := range p.namespaces {
			list, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
			if err != nil {
				return err
			}
			n += len(list.Items)
		}
		if n != p.pods {
			return fmt.Errorf("%d pods, want %d", n, p.pods)
		}
		return nil
	})
	return p
}

// kind of a workload: what it is made of, and what is wrong with it.
type plantedKind struct {
	change func(*corev1.PodSpec)
	want   []string // %s is the namespace
	noPods bool     // the API server lets none be created
	mounts string   // the Secret that a kind without a fault mounts
}

func noToken(s *corev1.PodSpec) { s.ServiceAccountName = "app" }

func goodKind(r *mathrand.Rand) plantedKind {
	secret := fmt.Sprintf("plain-%02d", r.IntN(auditSecrets-3))
	switch r.IntN(6) {
	case 0:
		return plantedKind{change: harness.All(noToken, harness.SecretVariable(secret, "user"))}
	case 1:
		return plantedKind{change: harness.All(noToken, harness.SecretVolume("not-there", true))}
	case 2:
		return plantedKind{change: harness.All(noToken, func(s *corev1.PodSpec) {
			s.Volumes = append(s.Volumes, corev1.Volume{Name: "unused", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "nobody"}}})
		})}
	case 3:
		return plantedKind{change: harness.All(noToken, harness.ConfigVolume("settings"))}
	case 4:
		return plantedKind{change: noToken}
	}
	return plantedKind{change: harness.All(noToken, harness.SecretVolume(secret, false)), mounts: secret}
}

// faults are all kinds of workloads with a fault.
func faultKinds() []plantedKind {
	return []plantedKind{
		{change: harness.All(noToken, harness.SecretVolume("gone", false)), want: []string{"secret-exists Secret %s/gone absent"}},
		{change: harness.All(noToken, harness.SecretVariable("plain-00", "nickname")), want: []string{"secret-key-exists Secret %s/plain-00 absent"}},
		{change: harness.All(noToken, harness.ConfigVolume("lost")), want: []string{"config-map-exists ConfigMap %s/lost absent"}},
		{
			change: harness.All(noToken, func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}} }),
			want:   []string{"image-pull-secret-exists Secret %s/registry absent"},
		},
		{
			change: harness.All(noToken, harness.SecretVolume("robot-token", false)),
			want:   []string{"token-own-account Secret %s/robot-token present", "token-long-lived Secret %s/robot-token present"},
		},
		{
			change: harness.All(harness.RunAs("robot"), harness.SecretVariable("robot-token", "token")),
			want:   []string{"token-in-environment Secret %s/robot-token present", "token-long-lived Secret %s/robot-token present"},
		},
		{
			change: harness.All(harness.RunAs("robot"), harness.SecretVolume("copied", false)),
			want:   []string{"token-valid Secret %s/copied present", "token-long-lived Secret %s/copied present"},
		},
		{change: func(*corev1.PodSpec) {}, want: []string{"token-default-account ServiceAccount %s/default present"}},
		{change: harness.RunAs("nobody"), want: []string{"service-account-exists ServiceAccount %s/nobody absent"}, noPods: true},
	}
}

// fill makes one namespace.
func (p *planted) fill(ctx context.Context, ns string, r *mathrand.Rand) error {
	if err := p.objects(ctx, ns); err != nil {
		return err
	}
	kinds := make([]plantedKind, 0, auditDeployments+auditBarePods)
	for range cap(kinds) {
		if r.IntN(4) == 0 {
			kinds = append(kinds, faultKinds()[r.IntN(len(faultKinds()))])
		} else {
			kinds = append(kinds, goodKind(r))
		}
	}
	running := slices.DeleteFunc(slices.Clone(kinds[:auditDeployments]), func(k plantedKind) bool { return k.noPods })
	left := auditPods - auditBarePods
	place := 0
	for i := range kinds {
		k := &kinds[i]
		if i >= auditDeployments {
			name := fmt.Sprintf("bare-%02d", i)
			if k.noPods {
				*k = plantedKind{change: noToken}
			}
			if _, err := p.client.CoreV1().Pods(ns).Create(ctx, harness.Pod(name, k.change), metav1.CreateOptions{}); err != nil {
				return err
			}
			p.expect("Pod "+ns+"/"+name, ns, k, 1)
			continue
		}
		replicas := 2
		if !k.noPods {
			place++
			if replicas = left / (len(running) - place + 1); place == len(running) {
				replicas = left
			}
			left -= replicas
		}
		name := fmt.Sprintf("app-%02d", i)
		if _, err := p.client.AppsV1().Deployments(ns).Create(ctx, harness.Deployment(name, replicas, k.change), metav1.CreateOptions{}); err != nil {
			return err
		}
		if k.noPods {
			replicas = 0
		}
		p.expect("Deployment "+ns+"/"+name, ns, k, replicas)
	}
	return nil
}

func (p *planted) expect(workload, ns string, k *plantedKind, pods int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pods += pods
	for _, want := range k.want {
		p.want[workload] = append(p.want[workload], fmt.Sprintf(want, ns))
	}
	slices.Sort(p.want[workload])
	if k.mounts != "" && pods > 1 {
		p.mounts[ns] = mounting{workload, k.mounts}
	}
}

// objects makes what the workloads of a namespace point at.
func (p *planted) objects(ctx context.Context, ns string) error {
	core, create := p.client.CoreV1(), metav1.CreateOptions{}
	if _, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, create); err != nil {
		return err
	}
	no := false
	var robot types.UID
	for _, name := range []string{"app", "robot"} {
		a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}, AutomountServiceAccountToken: &no}
		created, err := core.ServiceAccounts(ns).Create(ctx, a, create)
		if err != nil {
			return err
		}
		robot = created.UID
	}
	secrets := []*corev1.Secret{
		{
			ObjectMeta: metav1.ObjectMeta{Name: "robot-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}},
			Type:       corev1.SecretTypeServiceAccountToken,
		},
		{ObjectMeta: metav1.ObjectMeta{Name: "copied"}, StringData: map[string]string{"value": p.mint(ns, robot)}},
		{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}, StringData: map[string]string{"x": "eyJ.not.a.token"}},
	}
	for i := range auditSecrets - len(secrets) {
		secrets = append(secrets, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("plain-%02d", i)}, StringData: map[string]string{"user": "u", "password": "p"},
		})
	}
	for _, s := range secrets {
		if _, err := core.Secrets(ns).Create(ctx, s, create); err != nil {
			return err
		}
	}
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": "b"}}
	if _, err := core.ConfigMaps(ns).Create(ctx, settings, create); err != nil {
		return err
	}
	return cluster.Eventually(ctx, harness.Patience, func(ctx context.Context) error {
		s, err := core.Secrets(ns).Get(ctx, "robot-token", metav1.GetOptions{})
		if err == nil && len(s.Data["token"]) == 0 {
			err = errors.New("the token controller has not filled robot-token")
		}
		if err == nil {
			_, err = core.ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
		}
		return err
	})
}
