// Package backup writes a namespace to an archive and makes it again from one.
//
// An archive is a tar in zstd: a header, the streams one after the other in parts of at most 1 MiB, a
// manifest, and its sum. So it is written and read as it comes, and nothing is ever whole in memory. What
// a stream has is in nats-server's own form of a snapshot (server/archive), uncompressed.
//
// The order of a backup is queues, events, dead jobs, registry, statistics. A job that ends meanwhile is
// then in its queue and has its end among the events, so a restore knows that it has ended. The other way
// round it would be in neither. The order of a restore is the registry, so that all queues are paused
// before there is a job, then what tells of ends, and the queues last, without what has ended.
//
// Sequences stay what they are, since events, successors and schedules name each other by them. Each
// stream goes on behind a gap: what was given out after the backup must not be given out again, as
// docs/decisions/0018 has it. The gap is bounded, because nats-server walks through it.
package backup
