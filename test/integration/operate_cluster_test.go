package integration

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// An operated namespace is one on three servers, as its operator has it.
type operated struct {
	*testing.T
	nodes []*brokerProcess
	url   string
	js    jetstream.JetStream
}

// millhand runs the command, which is to end well, and returns what it printed.
func (s *operated) millhand(args ...string) string {
	s.Helper()
	out, stderr, code := runCommand(s.T, commands.millhand, "", append([]string{"-s", s.url}, args...)...)
	if code != 0 {
		s.Fatalf("millhand %q: exit code %d\n%s%s", args, code, out, stderr)
	}
	return out
}

// leader is the server that leads a stream.
func (s *operated) leader(stream string) (leader *brokerProcess) {
	s.Helper()
	until(s.T, stream+" has a leader", func() bool {
		st, err := s.js.Stream(s.Context(), stream)
		if err != nil {
			return false
		}
		i := slices.IndexFunc(s.nodes, func(b *brokerProcess) bool { return b.Name == st.CachedInfo().Cluster.Leader })
		if i >= 0 {
			leader = s.nodes[i]
		}
		return i >= 0
	})
	return leader
}

// comes waits until the command says something: while the cluster elects, nothing answers.
func (s *operated) comes(text string, args ...string) {
	s.Helper()
	until(s.T, strings.Join(args, " ")+" says "+text, func() bool {
		out, _, code := runCommand(s.T, commands.millhand, "", append([]string{"-s", s.url}, args...)...)
		return code == 0 && strings.Contains(out, text)
	})
}

// What is backed up, destroyed and restored on three servers ends once, and is there in three copies. A drill passes
// there. With a server down, the operator's command answers and says so.
func TestOperatingACluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, func(string) {})
	s := &operated{T: t, nodes: nodes, url: urls(nodes)}
	var err error
	if s.js, err = jetstream.New(connect(t, s.url)); err != nil {
		t.Fatal(err)
	}
	work := []string{"-c", "8", "--ack-wait", "5s"}
	w := startWorker(t, s.url, work...)
	refs := enqueueFrom(t, s.url, strings.Repeat(`{"type":"sleep","payload":{"for":"20ms"}}`+"\n", 100), "--from", "-")
	waits := enqueue(t, s.url, "echo", "1", "--in", "1h")[0]
	const queueStream = "millhand-queue-default"
	refs = append(refs, enqueueFrom(t, s.url, strings.Repeat(`{"type":"sleep","payload":{"for":"200ms"}}`+"\n", 60), "--from", "-")...)
	file := filepath.Join(t.TempDir(), "all.tar.zst")
	s.millhand("backup", file, "--quiesce")
	w.signal(t, syscall.SIGTERM)
	if code := w.wait(t); code != 0 {
		t.Errorf("worker ended with %d", code)
	}
	s.millhand("restore", file, "--replace", "--yes", "--resume")
	startWorker(t, s.url, work...)
	if st, err := s.js.Stream(t.Context(), queueStream); err != nil || st.CachedInfo().Config.Replicas != len(nodes) {
		t.Errorf("the restored queue has %+v, %v", st, err)
	}
	s.millhand("run", waits.Type+"/"+waits.ID)
	conserved(t, s.url, append(refs, waits))
	if report := s.millhand("verify", "--drill", "--jobs", "40", "--duration", "1s", "--workers", "2"); !strings.Contains(report, " 0 violated") {
		t.Errorf("a drill on three servers:\n%s", report)
	}
	s.loseAServer(queueStream)
}

// loseAServer has a server go down that has the only copy of a queue, and one of all else.
func (s *operated) loseAServer(name string) {
	s.Helper()
	ref := enqueue(s.T, s.url, "echo", "1", "--in", "1h")[0]
	st, err := s.js.Stream(s.Context(), name)
	if err != nil {
		s.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	cfg.Replicas = 1
	if _, err := s.js.UpdateStream(s.Context(), cfg); err != nil {
		s.Fatal(err)
	}
	until(s.T, "there is one copy", func() bool {
		st, err := s.js.Stream(s.Context(), name)
		return err == nil && len(st.CachedInfo().Cluster.Replicas) == 0
	})
	down := s.leader(name)
	down.kill(s.T)
	s.comes("broker_unready", "why", ref.Queue+"/"+ref.Type+"/"+ref.ID)
	s.comes("leaderless   stream "+name, "status")
	s.comes("its replica at "+down.Name, "status")
}
