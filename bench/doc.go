// Command bench measures Millhand against plain JetStream on this machine and prints a Markdown table: medians of
// several rounds, their spread, and the ratio between the two with the budget it has to keep.
//
//	go run ./bench                              everything, with a million waiting jobs: about half an hour
//	go run ./bench -run drain,enqueue           some works, by name; -list names them
//	go run ./bench -run drain -n 20000 -rounds 1
//	go run ./bench -quick                       all works with few jobs, under a minute: is the bench itself well?
//	go run ./bench -json                        the same for machines
//	go run ./bench -soak -for 20m               mixed load with a worker killed each minute
//	go run ./bench -run drain -cpuprofile DIR   each process leaves a CPU profile, of the last round
//
// The broker, each worker and the caller that enqueues are processes of their own: this binary, run again in another
// role, so that what each of them costs can be told apart. Contestants run in turn (A B A B A B), each on a fresh
// broker with the same settings. Ratios are taken within a round and their median is shown: what else runs on the machine
// disturbs both sides of a round alike.
//
// "Raw" is a loop over nats.go alone, on a stream with the settings of a queue's: one goroutine, 1,000 messages in hand,
// acks that nobody confirms. Each message has a subject of its own, as jobs have. "Raw alike" is the same with as many in
// hand as Millhand may have.
//
// Every job carries its number, and every worker notes which it handled: a missing or a second handling fails the run
// with exit code 1. A budget that is missed does not: it is marked.
package main
