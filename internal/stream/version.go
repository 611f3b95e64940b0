package stream

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// What a server must be. Retries and delays are message schedules (2.12), permits end by the
// TTL of their message (2.11), and events are confirmed in batches (2.14): the last one decides.
const (
	needVersion = "2.14"
	needMajor   = 2
	needMinor   = 14
	needLevel   = 4 // of JetStream's API, in that version
)

// Keys that a server adds to the metadata of streams and consumers in its answers.
const (
	metaLevel   = "_nats.level"
	metaVersion = "_nats.ver"
)

// A Server is what can be seen of a server that holds streams.
type Server struct {
	Version string // empty: not known
	Level   int    // of JetStream's API, 0 before 2.11; negative: not known
}

// Connected is the server that nc is connected to.
func Connected(nc *nats.Conn) Server {
	s := Server{Version: nc.ConnectedServerVersion(), Level: -1}
	if _, level := nc.ConnectedServerJetStream(); level > 0 {
		s.Level = level
	}
	return s
}

// Answering is the server that answered with a stream's or a consumer's metadata: its leader.
func Answering(metadata map[string]string) Server {
	s := Server{Version: metadata[metaVersion]}
	s.Level, _ = strconv.Atoi(metadata[metaLevel]) // before 2.11 there was none
	return s
}

// A TooOldError says that a server cannot do what is needed of it.
type TooOldError struct{ Server Server }

func (e *TooOldError) Error() string {
	found := "nats-server " + e.Server.Version
	if e.Server.Version == "" {
		found = fmt.Sprintf("the server that holds the streams (its JetStream API has level %d, level %d is needed)", e.Server.Level, needLevel)
	}
	return fmt.Sprintf("%s is too old: Millhand needs nats-server %s or later, for its message schedules, TTLs and batches; upgrade every server of the cluster", found, needVersion)
}

// Check returns a [*TooOldError] if s is too old. What is not known is not held against it.
func (s Server) Check() error {
	if s.Level >= 0 && s.Level >= needLevel {
		return nil
	}
	major, minor, known := parseVersion(s.Version)
	switch {
	case s.Level >= 0, known && (major < needMajor || major == needMajor && minor < needMinor):
		return &TooOldError{Server: s}
	default:
		return nil
	}
}

// needSnapshots is the level of JetStream's API from which on a snapshot has messages, and not files.
const (
	needSnapshots        = 5
	needSnapshotsVersion = "2.15"
)

// CheckSnapshots returns an error if s tells and takes snapshots in another form than a [Snapshot] has,
// as servers before 2.15 do. It must be known what it is.
func (s Server) CheckSnapshots() error {
	if s.Level >= needSnapshots {
		return nil
	}
	if major, minor, known := parseVersion(s.Version); s.Level < 0 && known && (major > needMajor || major == needMajor && minor > needMinor) {
		return nil
	}
	return fmt.Errorf("nats-server %s has snapshots in a form of its own: backup and restore need nats-server %s or later; upgrade every server of the cluster", s.Version, needSnapshotsVersion)
}

// parseVersion reads the first two numbers of a version such as 2.14.0-RC.1. Names of
// builds, as forks and proxies have them, say nothing.
func parseVersion(v string) (major, minor int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	digits := strings.IndexFunc(parts[1], func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(parts[1])
	}
	minor, err2 := strconv.Atoi(parts[1][:digits])
	return major, minor, err1 == nil && err2 == nil
}
