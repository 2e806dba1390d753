package trust

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// ConfigMapRecord is a Record in a ConfigMap, which must exist.
type ConfigMapRecord struct {
	Client          kubernetes.Interface
	Namespace, Name string
}

// recordKey is the key of the ConfigMap.
const recordKey = "history.json"

// Load implements Record.
func (r *ConfigMapRecord) Load(ctx context.Context) ([]byte, string, error) {
	m, err := r.Client.CoreV1().ConfigMaps(r.Namespace).Get(ctx, r.Name, metav1.GetOptions{})
	if err != nil {
		return nil, "", err
	}
	return []byte(m.Data[recordKey]), m.ResourceVersion, nil
}

// Save implements Record. What else is in the ConfigMap stays.
func (r *ConfigMapRecord) Save(ctx context.Context, data []byte, version string) error {
	maps := r.Client.CoreV1().ConfigMaps(r.Namespace)
	m, err := maps.Get(ctx, r.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	m.ResourceVersion = version
	if m.Data == nil {
		m.Data = map[string]string{}
	}
	m.Data[recordKey] = string(data)
	_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
	return err
}

var _ Record = &ConfigMapRecord{}
