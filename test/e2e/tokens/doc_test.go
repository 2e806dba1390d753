// Package tokens tests verdicts on tokens while the keys and certificates of a
// cluster change. Each test starts a control plane of its own, and there is none
// that they share.
package tokens
