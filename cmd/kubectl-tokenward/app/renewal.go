package app

import (
	"time"

	"tokenward.dev/tokenward/pkg/token"
)

// podRenewal says how the pod of a token whose key is gone gets a new one.
func podRenewal(c *token.Claims, now time.Time) string {
	text := "A new pod (kubectl rollout restart), or a restart of the kubelet on its node, brings a new token into the file at once. A container that restarts does not. "
	if c.IssuedAt.IsZero() || c.Expires.IsZero() {
		return text
	}
	at := kubeletRenews(c)
	if at.After(now) {
		text += "By itself the kubelet renews the file after four fifths of the token's life: " + when(at, now) + ". "
	} else {
		text += "By itself the kubelet has renewed the file " + when(at, now) + ": read it again. "
	}
	return text + "A program that read the file once at its start must be restarted."
}

// kubeletRenews returns when the kubelet renews the token of a pod: after four
// fifths of the life that was asked for, and after a day at the latest. Tokens of an
// hour live for longer, and say in warnafter what was asked for.
// https://github.com/kubernetes/kubernetes/blob/v1.33.0/pkg/kubelet/token/token_manager.go
func kubeletRenews(c *token.Claims) time.Time {
	end := c.Expires
	if !c.WarnAfter.IsZero() {
		end = c.WarnAfter
	}
	return c.IssuedAt.Add(min(end.Sub(c.IssuedAt)*4/5, 24*time.Hour))
}
