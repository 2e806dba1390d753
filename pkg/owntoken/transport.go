package owntoken

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

const (
	// pollInterval is how often those who wait look at the file.
	pollInterval = 200 * time.Millisecond
	// retryInterval is how often they try a token again that was refused: it need not
	// be the token's fault, while an API server starts.
	retryInterval = 5 * time.Second
	// maxRefusal is how much of a refusal is kept.
	maxRefusal = 64 << 10
)

type patienceKey struct{}

// Patient returns a context whose reads wait for a better token where the API server
// refuses the one that there is, instead of failing. It is for work in the
// background that would be tried again later and later. A read that waits ends with
// its context.
func Patient(ctx context.Context) context.Context {
	return context.WithValue(ctx, patienceKey{}, true)
}

// transport shows the token. client-go's own reads the file once a minute.
type transport struct {
	token *Token
	next  http.RoundTripper
}

func (t *Token) wrap(next http.RoundTripper) http.RoundTripper {
	return &transport{token: t, next: next}
}

// WrappedRoundTripper lets client-go find the transport below.
func (r *transport) WrappedRoundTripper() http.RoundTripper { return r.next }

// RoundTrip implements http.RoundTripper. A read that is refused is sent again at
// once if the file has another token by now.
func (r *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Header.Get("Authorization") != "" {
		return r.next.RoundTrip(request)
	}
	token := r.token.current(rereadAfter)
	for {
		response, err := r.send(request, token)
		if err != nil {
			return nil, err
		}
		if response.StatusCode != http.StatusUnauthorized {
			if response.StatusCode < http.StatusInternalServerError { // a proxy may say the rest
				r.token.accept(token)
			}
			return response, nil
		}
		keepBody(response)
		fresh := r.token.current(0)
		if fresh == token {
			r.token.reject(token)
		}
		if request.Body != nil && request.Body != http.NoBody {
			return response, nil
		}
		if fresh == token {
			if request.Context().Value(patienceKey{}) == nil || !r.await(request.Context(), token) {
				return response, nil
			}
			fresh = r.token.current(0)
		}
		token = fresh
	}
}

func (r *transport) send(request *http.Request, token string) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+token)
	return r.next.RoundTrip(request)
}

// keepBody frees the connection of a refusal.
func keepBody(response *http.Response) {
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
}

// await returns true once it is worth another try, false if the context ended.
func (r *transport) await(ctx context.Context, refused string) bool {
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	retry := time.NewTimer(retryInterval)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-retry.C:
			return true
		case <-poll.C:
			if r.token.current(pollInterval/2) != refused {
				return true
			}
		}
	}
}
