package cases

import (
	"fmt"
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/strictyaml"
)

func (c *Case) usePolicies(d *strictyaml.Document) error {
	table, err := c.table(d)
	if err != nil {
		return err
	}
	parts, all, err := c.parts(d, "policies", c.File.Policies, "policyFiles", c.File.PolicyFiles)
	if err != nil {
		return err
	}
	c.File.Policies = all
	policies := make([]*policy.Policy, 0, len(parts))
	for i := range parts {
		part := &parts[i]
		p, err := c.compiler.ParseDocument(&part.Document)
		if err != nil {
			return part.place(err)
		}
		if slices.ContainsFunc(policies, func(other *policy.Policy) bool { return other.Name == p.Name }) {
			return part.place(part.ErrorAt("metadata.name", fmt.Sprintf("%q is the name of another policy, too", p.Name)))
		}
		for _, w := range slices.Concat(p.Warnings, p.Expired(c.now)) {
			c.Warnings = append(c.Warnings, part.ErrorAt("", w).Error())
		}
		policies = append(policies, p)
	}
	c.snapshot = policy.NewSnapshot(table, policies, policy.Options{DryRun: c.File.DryRun, Hold: true})
	return nil
}

// table returns the checks that judge.
func (c *Case) table(d *strictyaml.Document) ([]policy.Check, error) {
	all := c.compiler.Checks()
	if len(c.File.Checks) == 0 {
		return all, nil
	}
	for i, id := range c.File.Checks {
		if !slices.ContainsFunc(all, func(check policy.Check) bool { return check.ID == id }) {
			return nil, d.ErrorAt(fmt.Sprintf("checks[%d]", i), unknownCheck(id, all))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(check policy.Check) bool { return !slices.Contains(c.File.Checks, check.ID) }), nil
}

func unknownCheck(id string, all []policy.Check) string {
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	if word := strictyaml.Nearest(id, ids); word != "" {
		return fmt.Sprintf("unknown check %q; did you mean %q?", id, word)
	}
	return fmt.Sprintf("unknown check %q; known are %s", id, strings.Join(ids, ", "))
}
