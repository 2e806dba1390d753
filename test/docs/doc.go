// Package docs tests that what the documentation names exists: identifiers and
// packages, files, make targets, commands and their flags, metrics, checks, values
// of the chart, links and anchors. It looks at docs/, README.md, CONTRIBUTING.md,
// CHANGELOG.md, the chart's README.md and the package comments.
//
// The rules that tell our names from those of other projects:
//
//   - A dotted name is ours if it begins with the name of one of our packages, or
//     with a type (Plan.Needs). Names of other packages are written with theirs.
//   - A path is ours if it begins with one of our top-level directories. A path of
//     another project begins with its host, as k8s.io/kubernetes/pkg/serviceaccount
//     does; files in parentheses right behind it are that project's, too.
//   - A flag is ours if it stands alone or behind one of our programs. A flag of
//     another program stands behind the name of that program. The pages about the
//     checks are an exception: they are about flags of the control plane.
//   - A name with hyphens is a check if it begins with the first word of one.
//   - A segment of a path in capitals (MY-CHECK, vX.Y) stands for any name.
package docs
