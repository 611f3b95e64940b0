package broker

import (
	"log/slog"
	"os"
	"time"
)

// A version of a file is told by when it was written, and how long it is.
type version struct {
	at   time.Time
	size int64
}

// versionOf returns the zero version of a file that is not there.
func versionOf(file string) version {
	info, err := os.Stat(file)
	if file == "" || err != nil {
		return version{}
	}
	return version{info.ModTime(), info.Size()}
}

// reload has the server know the users that the file has now, if it was written since. Connections of users
// that are gone, or whose secret is another one, end. A file that is not there or has a fault changes nothing.
func (b *Broker) reload() {
	now := versionOf(b.cfg.Access.file)
	if now == b.users || now == (version{}) {
		return
	}
	b.users = now
	access, err := b.cfg.Access.again()
	if err == nil {
		opts := b.opts.Clone()
		access.apply(opts)
		err = b.srv.Load().ReloadOptions(opts)
	}
	if err != nil {
		b.log.Error("the users are as before, since their file has a fault", slog.Any("err", err))
		return
	}
	b.cfg.Access = access
	b.log.Info("users read again", slog.Int("count", len(access.users)+len(access.nkeys)-1)) // without this process
}
