package queue

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// QueueFaults returns what about the configuration of a queue's stream may cost jobs, or keeps what is
// documented from working; nil if nothing does.
func (s *Store) QueueFaults(queue job.Name, info *jetstream.StreamInfo) (faults []string) {
	cfg := info.Config
	say := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	say(cfg.Retention != jetstream.WorkQueuePolicy, "its retention is %v, not work queue: jobs that have ended stay", cfg.Retention)
	say(cfg.MaxMsgs > 0, "it keeps %d messages, and then drops the oldest job", cfg.MaxMsgs)
	say(cfg.MaxMsgsPerSubject > 0, "it keeps %d messages of a subject: successors drop what they follow", cfg.MaxMsgsPerSubject)
	say(cfg.MaxAge > 0, "it drops jobs that are older than %v", cfg.MaxAge)
	say(cfg.Discard == jetstream.DiscardOld && usedOf(info) >= nearlyFull, "it is nearly as full as it may be (%d bytes), and then drops the oldest job", cfg.MaxBytes)
	say(cfg.Mirror != nil, "it is a mirror, which takes no jobs")
	say(len(cfg.Sources) > 0, "it has sources, whose messages come beside its jobs")
	say(cfg.Storage != jetstream.FileStorage, "it is in memory, and gone with the server")
	say(cfg.NoAck, "it confirms nothing that it stores")
	say(cfg.Sealed, "it is sealed: nothing can be stored or removed")
	say(!cfg.AllowMsgSchedules, "it allows no schedules: no job can wait for its time")
	say(cfg.SubjectDeleteMarkerTTL > 0, "it leaves markers of what it removed, which are taken for messages")
	say(cfg.SubjectTransform != nil, "it changes subjects as it stores")
	say(cfg.RePublish != nil, "it publishes again what it stores, so jobs can be read elsewhere")
	own := s.names.queueSubjects(queue)
	added := s.queueAdditions(queue)
	for _, subject := range own {
		say(!slices.Contains(cfg.Subjects, subject), "it does not store %s", subject)
	}
	for _, subject := range cfg.Subjects {
		say(!slices.Contains(own, subject) && !slices.Contains(added.Subjects, subject), "it stores %s, which is nobody's of ours", subject)
	}
	if missing := added.Missing(cfg); missing != nil {
		faults = append(faults, fmt.Sprintf("an earlier version made it without %s; run: %s", strings.Join(missing.What, ", "), missing.Command))
	}
	return faults
}

// ConsumerFaults returns what about a consumer of a queue takes jobs away, or hides them; nil if it is
// the one of its type, as workers make it.
func (s *Store) ConsumerFaults(queue job.Name, info *jetstream.ConsumerInfo) (faults []string) {
	cfg := info.Config
	typ, err := job.TypeName(info.Name)
	if err != nil || cfg.FilterSubject != s.names.readyOf(queue, typ) || len(cfg.FilterSubjects) > 0 {
		return []string{fmt.Sprintf("it is no worker's: it takes %q%q", cfg.FilterSubject, cfg.FilterSubjects)}
	}
	say := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	say(cfg.AckPolicy != jetstream.AckExplicitPolicy, "its acks are %v, not explicit: jobs are gone when they are handed out", cfg.AckPolicy)
	say(cfg.MaxDeliver > 0, "it hands a job out %d times, and then never again", cfg.MaxDeliver)
	say(len(cfg.BackOff) > 0, "it has a backoff, which replaces the lease")
	say(cfg.MaxAckPending > 0, "it stops at %d jobs in hand", cfg.MaxAckPending)
	say(cfg.AckWait < MinAckWait, "its lease of %v is below %v", cfg.AckWait, MinAckWait)
	say(cfg.DeliverSubject != "", "it pushes jobs to %s", cfg.DeliverSubject)
	say(cfg.HeadersOnly, "it hands out jobs without payloads")
	say(cfg.DeliverPolicy != jetstream.DeliverAllPolicy, "it leaves out jobs that were there before it (%v)", cfg.DeliverPolicy)
	say(info.Paused, "it is paused at the broker")
	return faults
}

// IsPin reports whether a message is the one that stays at the head of a queue's stream.
func (s *Store) IsPin(queue job.Name, m *stream.Message) bool { return m.Subject == s.names.pin(queue) }
