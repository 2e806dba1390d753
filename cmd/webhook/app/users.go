package app

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/admission"
	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/usage"
	"tokenward.dev/tokenward/pkg/workload"
)

// users is what finds out who uses what in a namespace.
func (s *Server) users(templates workload.Templates) (admission.Users, error) {
	if s.config == nil {
		return noUsers{}, nil
	}
	config := rest.CopyConfig(s.config)
	config.QPS = -1 // how much is listed at a time is bounded
	client, err := cluster.NewClient(config, cluster.Reducer{})
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	return listing.NewSharedUsers(listing.NewLister(client, templates).Users), nil
}

// noUsers is for embedded mode, in which there is nothing to list.
type noUsers struct{}

// Find implements admission.Users.
func (noUsers) Find(context.Context, string, bool) *usage.Users {
	return &usage.Users{Unread: []string{"pods and templates: there is no API server"}}
}
