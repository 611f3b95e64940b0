package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func setupChecks() []Check {
	return []Check{
		{
			ID: "S01", Class: Setup, judge: serverIsNewEnough,
			Invariant: "the servers are new enough",
			Advice:    "upgrade every server of the cluster, one after the other",
		},
		{
			ID: "S02", Class: Setup, needs: []fact{ofAccount}, judge: streamsKeepJobs,
			Invariant: "the streams of queues drop nothing and give nothing away",
			Advice:    "change the stream with 'nats stream edit', or remove the mirror or source; docs/wire.md has how it is made",
		},
		{
			ID: "S03", Class: Setup, needs: []fact{ofHeads}, judge: pinIsFirst,
			Invariant: "the pin is the first message of a queue",
			Advice:    "jobs run, but slower the more of them wait: after a purge a worker puts the pin back, and it is first once the older jobs have run",
		},
		{
			ID: "S04", Class: Setup, judge: consumersAreOurs,
			Invariant: "only workers take jobs, and no consumer hides any",
			Advice:    "remove a consumer that is no worker's with 'nats consumer rm'; a worker makes its own again",
		},
		{
			ID: "S05", Class: Setup, judge: eventsAreKept,
			Invariant: "events are kept for longer than leases and retries",
			Advice:    "keep more of them: 'nats stream edit NAMESPACE-events --max-age 7d --max-msgs 2000000'",
		},
		{
			ID: "S06", Class: Setup, judge: streamsAreReplicated,
			Invariant: "in a cluster each stream has three replicas or more, all of them current",
			Advice:    "'nats stream edit STREAM --replicas 3'; see 'nats server report jetstream' for a server that is away",
		},
		{
			ID: "S07", Class: Setup, needs: []fact{ofEvents}, judge: clocksAgree,
			Invariant: "clocks are within a second, and messages have room for their headers",
			Advice:    "have the machines' clocks synchronised (chrony, systemd-timesyncd); raise max_payload of the servers to 1 MiB or more",
		},
	}
}

// serverIsNewEnough is S01.
func serverIsNewEnough(f *Facts) judgement {
	j := judgement{lookedAt: 1, what: "servers"}
	if err := f.Server.Check(); err != nil {
		j.find("server "+f.Server.Version, err.Error(), f.Server)
	}
	return j
}

// streamsKeepJobs is S02.
func streamsKeepJobs(f *Facts) judgement {
	j := judgement{what: "streams", why: "there are no queues"}
	ours := make(map[string]bool)
	for i := range f.Snapshot.Streams {
		s := &f.Snapshot.Streams[i]
		if s.Queue == "" || s.Info == nil {
			continue
		}
		ours[s.Name] = true
		j.lookedAt++
		for _, fault := range f.Faults[s.Name] {
			j.find(s.Name+": "+fault, s.Name+": "+fault, s.Info.Config)
		}
	}
	if len(ours) == 0 {
		return j
	}
	for _, info := range f.Account {
		if ours[info.Config.Name] {
			continue
		}
		j.lookedAt++
		for _, from := range sourcesOf(&info.Config) {
			if ours[from] {
				j.find(info.Config.Name+" of "+from, fmt.Sprintf("%s is a mirror or source of %s: jobs that it has read are removed there", info.Config.Name, from), info.Config)
			}
		}
	}
	return j
}

func sourcesOf(cfg *jetstream.StreamConfig) (names []string) {
	if cfg.Mirror != nil {
		names = append(names, cfg.Mirror.Name)
	}
	for _, s := range cfg.Sources {
		names = append(names, s.Name)
	}
	return names
}

// pinIsFirst is S03.
func pinIsFirst(f *Facts) judgement {
	j := judgement{lookedAt: int64(len(f.Heads)), what: "queues", why: "there are no queues"}
	for _, name := range sortedKeys(f.Heads) {
		switch h := f.Heads[name]; {
		case h.Seq == 0:
			j.find(name+" empty", fmt.Sprintf("queue %s has no pin", name), h)
		case !h.Pin:
			j.find(fmt.Sprintf("%s %d", name, h.Seq), fmt.Sprintf("queue %s begins with %s (message %d), not with its pin", name, h.Subject, h.Seq), h, h.Seq)
		}
	}
	return j
}

// consumersAreOurs is S04.
func consumersAreOurs(f *Facts) judgement {
	j := judgement{what: "consumers", why: "there are no consumers"}
	leases := make(map[time.Duration]string)
	for i := range f.Snapshot.Queues {
		q := &f.Snapshot.Queues[i]
		for k := range q.Types {
			if info := q.Types[k].Info; info != nil {
				leases[info.Config.AckWait] = q.Name + "/" + info.Name
			}
		}
		for _, c := range f.Consumers[q.Name] {
			j.lookedAt++
			for _, fault := range c.Faults {
				about := fmt.Sprintf("consumer %s of queue %s", c.Name, q.Name)
				j.find(about+": "+fault, about+": "+fault, c)
			}
		}
	}
	if len(leases) > 1 {
		var all []string
		for lease, where := range leases {
			all = append(all, fmt.Sprintf("%v (%s)", lease, where))
		}
		slices.Sort(all)
		j.find("leases "+strings.Join(all, ", "), "types have different leases: "+few(all), nil)
	}
	return j
}

// maxBackoff is the longest pause between two attempts, unless a type has another.
const maxBackoff = time.Hour

// eventsAreKept is S05.
func eventsAreKept(f *Facts) judgement {
	s := f.events()
	if s == nil && len(f.Snapshot.Workers) > 0 {
		j := judgement{lookedAt: 1, what: "streams"}
		name := f.Snapshot.Namespace + "-events"
		j.find("no "+name, fmt.Sprintf("there is no stream %s, and workers run: what they end is not written, and jobs whose workers vanish run again; workers make it anew as they write", name), nil)
		return j
	}
	if s == nil || s.Info == nil {
		return skip("there are no events")
	}
	j := judgement{lookedAt: 1, what: "streams"}
	cfg, lease := s.Info.Config, longestLease(f.Snapshot)
	if need := max(2*lease, maxBackoff); cfg.MaxAge > 0 && cfg.MaxAge < need {
		j.find(fmt.Sprintf("age %v", cfg.MaxAge), fmt.Sprintf("%s keeps events for %v: a job may have to wait %v for its next attempt", s.Name, cfg.MaxAge, need), cfg)
	}
	full := cfg.MaxMsgs > 0 && s.Info.State.Msgs >= uint64(cfg.MaxMsgs)*95/100 || cfg.MaxBytes > 0 && s.Info.State.Bytes >= uint64(cfg.MaxBytes)*95/100
	if reach := s.LastTime.Sub(s.FirstTime); full && reach < 2*lease {
		j.find("reach", fmt.Sprintf("%s is full and reaches back %v, less than two leases (%v): a job whose worker vanishes may run again though it had ended", s.Name, reach.Round(time.Second), 2*lease), s.Info.State)
	}
	return j
}

// streamsAreReplicated is S06.
func streamsAreReplicated(f *Facts) judgement {
	if f.Snapshot.Server.Cluster == "" {
		return skip("single server")
	}
	j := judgement{what: "streams", why: "there are no streams"}
	for i := range f.Snapshot.Streams {
		s := &f.Snapshot.Streams[i]
		if s.Info == nil || !f.Own[s.Name] {
			continue
		}
		j.lookedAt++
		if n := s.Info.Config.Replicas; n < 3 {
			j.find(fmt.Sprintf("%s has %d", s.Name, n), fmt.Sprintf("%s has %d replica(s): what it stores is gone with the server that has it", s.Name, n), nil)
		}
		if s.Leader == "" {
			j.find(s.Name+" leads", s.Name+" has no leader: it stores nothing", nil)
		}
		for _, r := range s.Replicas {
			if r.Offline || !r.Current {
				j.find(s.Name+" at "+r.Server, fmt.Sprintf("%s at %s is not current, %d operations behind", s.Name, r.Server, r.Lag), r)
			}
		}
	}
	return j
}

// minEvents is how many events of a worker say that its clock is behind: any of them may be late.
const minEvents = 10

// headerRoom is what headers may take of a message, bytes.
const headerRoom = 64 << 10

// clocksAgree is S07.
func clocksAgree(f *Facts) judgement {
	j := judgement{lookedAt: 1, what: "readings"} // of max_payload, and of clocks
	if room := f.MaxPayload; room > 0 && room < 2*headerRoom {
		j.find("max_payload", fmt.Sprintf("max_payload is %d bytes, and %d of them are for headers", room, headerRoom), room)
	}
	present := make(map[string]bool)
	for i := range f.Snapshot.Workers {
		present[f.Snapshot.Workers[i].ID] = true
	}
	for _, node := range sortedKeys(f.Ledger.Clocks) {
		c := f.Ledger.Clocks[node]
		if !present[node] {
			continue
		}
		j.lookedAt++
		switch {
		case c.Most > skew:
			j.find(node+" ahead", fmt.Sprintf("the clock of %s is %v ahead of the broker's", node, c.Most.Round(time.Millisecond)), c)
		case c.Most < -skew && c.Events >= minEvents:
			j.find(node+" behind", fmt.Sprintf("the clock of %s is %v behind the broker's", node, (-c.Most).Round(time.Millisecond)), c)
		}
	}
	return j
}
