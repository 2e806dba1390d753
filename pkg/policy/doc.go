// Package policy is the decision core: the table of checks, the compilation of
// TokenPolicies to a Snapshot, the queries that a judgement needs, the findings
// and the verdict. All rules of the game (mirror pods, deletion, unchanged
// references, dry run, exemptions) live here.
//
// It is pure: no client, no context, no clock, no environment. It imports
// packages apis, workload, reference, facts and strictyaml.
//
// One review goes through it so:
//
//	plan := snapshot.Plan(review)            // rules of the game, references
//	set := source.Gather(..., plan.Needs)    // facts, from wherever they come
//	verdict := plan.Judge(set, now)          // findings, then the verdict
//
// A new check is one file with a constructor (check_secret_exists.go is a
// model), one row in Checks, and its cases under test/cases.
package policy
