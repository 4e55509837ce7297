// Package cis is Packer's side of the provisioner k3s-cis: it turns a block of
// HCL into options, finds out how the node can be reached, and tells Packer
// what came of hardening and judging it.
//
// Prepare decodes and validates, offline and as often as Packer likes. The order
// of a run is that of session.run:
//
//  1. The directory of the reports is made, before anything is done that nobody
//     would be told of.
//  2. The node is read, unless it is a machine of a known release that is to be
//     hardened: its plan assumes that there is no K3s configuration yet.
//  3. The options are completed by the release and the benchmark that fits it.
//  4. mode "plan" prints what would change and ends; "check" goes on with 6.
//  5. The plan is made and applied, and everything is read back, with one
//     command. A node that is not what the plan assumed comes back untouched and
//     is planned for once more.
//  6. Where that is wanted, K3s is started once in namespaces of its own, and what
//     it did is seen (rehearsal).
//  7. What K3s will run with is resolved from what is on the node, the controls
//     are evaluated, and waivers are applied.
//  8. The reports are written, on failure too; a control that failed or could
//     not be judged, or a step back from the baseline, fails the build.
package cis
