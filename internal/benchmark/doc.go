// Package benchmark judges a node against the CIS Kubernetes benchmarks as the K3s
// documentation applies them. The controls are data (see catalogue/README.md);
// evaluation is a pure function of that data, the node's evidence, its
// effective K3s configuration and the waivers. It never looks at what anybody
// meant to put on the node.
//
// The life of an expectation:
//
//  1. It is a few lines of YAML in the catalogue, or in a user's own file of
//     controls, read strictly: an unknown or a missing field is an error with its
//     line.
//  2. Its kind says which paths it rests on (picks). Query joins those of all
//     controls, so that one collection answers them; FollowUp asks for what only
//     the node's own configuration points to.
//  3. Evaluate makes one examination of the node, in which every file is read
//     once, and asks each expectation of each control. The answer is a verdict:
//     a status, what was found and expected, and the evidence for it, a file and
//     line or the default of K3s and the release it comes from.
//  4. A control takes the worst of its expectations. What was not collected, or
//     could not be read, is an error and never a pass; what exists only once K3s
//     has run is deferred.
//  5. A waiver that fits and has not expired turns a failure into a waived one,
//     with its reason and owner; results then go to the reports as they are.
package benchmark
