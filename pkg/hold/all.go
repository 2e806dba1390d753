package hold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/pkg/policy"
)

// How pods are released that nobody will hold any more.
const (
	allPage  = 500
	allPause = time.Second
)

// ReleaseAll releases every held pod of some namespaces, or of all, whatever it waits
// for, and goes on until there is none. It returns how many it released.
func ReleaseAll(ctx context.Context, client kubernetes.Interface, namespaces []string, log logr.Logger) (int, error) {
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	total := 0
	for {
		left, failed := 0, error(nil)
		for _, namespace := range namespaces {
			seen, released, err := releasePages(ctx, client, namespace)
			total, left, failed = total+released, left+seen, errors.Join(failed, err)
		}
		if left == 0 && failed == nil {
			return total, nil
		}
		if failed != nil {
			log.Error(failed, "Not all held pods could be released; trying again")
		}
		select {
		case <-ctx.Done():
			return total, errors.Join(ctx.Err(), failed)
		case <-time.After(allPause):
		}
	}
}

// releasePages releases the held pods of a namespace, and returns how many it saw.
func releasePages(ctx context.Context, client kubernetes.Interface, namespace string) (seen, released int, failed error) {
	options := metav1.ListOptions{LabelSelector: policy.HeldLabel + "=" + policy.HeldLabelValue, Limit: allPage}
	for {
		list, err := client.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return seen, released, errors.Join(failed, fmt.Errorf("list held pods: %w", err))
		}
		for i := range list.Items {
			pod := &list.Items[i]
			if !policy.HasGate(pod) || pod.DeletionTimestamp != nil {
				continue
			}
			seen++
			patch, err := ReleasePatch(pod)
			if err != nil {
				return seen, released, err
			}
			_, err = client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: program})
			switch {
			case err == nil:
				released++
			case !apierrors.IsNotFound(err):
				failed = errors.Join(failed, fmt.Errorf("release %s/%s: %w", pod.Namespace, pod.Name, err))
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return seen, released, failed
		}
	}
}
