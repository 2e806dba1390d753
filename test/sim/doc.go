// Package sim is a simulator: the real inventory, policy source and admission
// handlers, in several replicas, against API servers in memory and in virtual
// time. A seed decides everything that happens. An oracle, written independently
// of the code under test, knows at each instant what is true, and invariants
// compare the answers with it.
//
// The parts: a store that stands for etcd (store.go), API servers that share it
// and each have signing keys, a watch cache and a lag of their own (server.go,
// list.go, watch.go, write.go), a balancer with faults between them and the
// replicas (transport.go, faults.go), real signed tokens (tokens.go), the world
// that changes (world.go, actions.go, rotation.go), pods and their reviews
// (pods.go, review.go), the oracle (oracle.go), and the phases of a run with the
// invariants (run.go). What the simulator needs of the code under test stands in
// replica.go and policies.go alone.
//
// "make sim SEEDS=1000" plays seeds and sums up; "go test ./test/sim -run 'TestSeed$'
// -v -seed N" replays one with its trace. known.go names the invariants that do not
// hold yet; testdata/seeds.txt keeps seeds that failed. "make sim-mutants" puts the
// defects of mutants/ back, one at a time, and sees that each is caught.
package sim
