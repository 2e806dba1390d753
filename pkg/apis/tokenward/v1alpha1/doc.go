// Package v1alpha1 contains the API types of the group tokenward.dev. It has
// no behaviour: policies are validated and compiled by package policy. It
// imports nothing of ours.
//
// +kubebuilder:object:generate=true
// +groupName=tokenward.dev
package v1alpha1
