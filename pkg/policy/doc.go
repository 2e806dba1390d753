// Package policy is the decision core: the table of checks, the compilation of
// TokenPolicies to a Snapshot, the queries that a judgement needs, the findings
// and the verdict. All rules of the game (mirror pods, deletion, unchanged
// references, dry run, exemptions) live here.
//
// It is pure: no client, no context, no clock, no environment. Of ours it imports
// packages apis, workload, reference, facts, token and strictyaml alone.
//
// One review goes through it so:
//
//	plan := snapshot.Plan(attributes)        // rules of the game, references
//	set := source.Gather(..., plan.Needs)    // facts, from wherever they come
//	verdict := plan.Judge(set, now)          // findings, then the verdict
//
// A new check is one file with a constructor (check_token_mounted.go is a
// model), one row in Checks, and its cases under test/cases.
package policy
