package app

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"tokenward.dev/tokenward/pkg/hold"
)

// newReleaseCommand returns the command that releases every held pod. The chart runs
// it before it is uninstalled.
func newReleaseCommand() *cobra.Command {
	var kubeconfig, configuration string
	var namespaces []string
	timeout := 2 * time.Minute
	command := &cobra.Command{
		Use:   "release-held",
		Short: "Release every pod that Tokenward holds",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger("info", "console", os.Stderr)
			if err != nil {
				return err
			}
			var config *rest.Config
			if kubeconfig == "" {
				config, err = rest.InClusterConfig()
			} else {
				config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
			}
			if err != nil {
				return fmt.Errorf("--kubeconfig: %w", err)
			}
			config.QPS, config.UserAgent = -1, "tokenward/release-held"
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if configuration != "" {
				// Else pods could be held that are created meanwhile.
				err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, configuration, metav1.DeleteOptions{})
				if err != nil && !apierrors.IsNotFound(err) {
					return fmt.Errorf("--delete-webhook-configuration: %w", err)
				}
			}
			released, err := hold.ReleaseAll(ctx, client, namespaces, log)
			log.Info("Held pods were released", "pods", released)
			return err
		},
	}
	f := command.Flags()
	f.StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server; in-cluster configuration otherwise")
	f.StringSliceVar(&namespaces, "namespaces", nil, "release pods of these namespaces alone; all if empty")
	f.StringVar(&configuration, "delete-webhook-configuration", "", "first delete the MutatingWebhookConfiguration of this name, so that no more pods are held")
	f.DurationVar(&timeout, "timeout", timeout, "how long to try")
	return command
}
