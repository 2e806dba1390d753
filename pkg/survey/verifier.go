package survey

import (
	"context"
	"time"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/trust"
)

// verifier says what the API server would say to a token, by what was listed and
// by live reads.
type verifier struct {
	client  *cluster.Client
	listing *listing.Listing
	trust   *trust.Follower
	now     time.Time
}

// confirm reads objects live into the listing.
func (v *verifier) confirm(ctx context.Context, objects []facts.Object) error {
	return v.listing.Confirm(ctx, v.client, objects)
}

// verdict says what the API server would say to a token. Objects that were not
// listed are read; a verdict that it is dead rests on live reads alone.
func (v *verifier) verdict(ctx context.Context, t *facts.SecretToken) (token.Result, error) {
	var result token.Result
	for range 2 {
		var doubtful []facts.Object
		result = policy.TokenVerdict(t, func(o facts.Object) facts.Fact {
			f, sure := v.listing.Lookup(&facts.Query{Object: o, Contents: true}, v.now)
			if !sure {
				doubtful = append(doubtful, o)
			}
			return f
		}, v.now)
		if result.Verdict == token.Valid || len(doubtful) == 0 {
			break
		}
		if err := v.confirm(ctx, doubtful); err != nil {
			return token.Result{}, err
		}
	}
	return result, nil
}
