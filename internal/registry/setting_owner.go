package registry

import (
	"context"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// Limits and keys have an owner. What a worker's configuration says replaces only what a
// configuration said before; what a person set stays until a person removes it or hands it back.
//
//	          SetLimit            ResetLimit
//	config ─────────────▶ person ◀──────────▶ handed back ─────────────────▶ config
//	                               SetLimit                 ConfigureLimit,
//	                                                        or a running worker
//
// A configuration that no longer names a limit leaves it where it is: a worker cannot know
// whether others still name it, and none may lift what the others rely on.

// ConfigureLimit sets a limit as a worker's configuration has it, or removes it if it is of zero
// jobs, unless a person set another: that one stays, and the log says how to hand it back. The
// errors are those of [Store.SetLimit].
func (s *Store) ConfigureLimit(ctx context.Context, k slots.Key, l Limit) error {
	if err := CheckLimit(k, l); err != nil {
		return err
	}
	kept, err := s.configure(ctx, settingOf(k), encodeLimit(l, ByConfig, ""))
	if err != nil || kept.Value == nil {
		return err
	}
	set, readable := decodeLimitOf(k, kept.Value)
	if readable && set == l {
		return nil
	}
	s.logKept(ctx, "a configured limit is not applied: a person set another, which holds until it is removed or handed back",
		kept, slog.String("limit", prefix(k)), slog.String("configured", l.String()), slog.String("in_force", inForce(set, readable)))
	return nil
}

// ConfigureKey is [Store.ConfigureLimit] for the key of a type.
func (s *Store) ConfigureKey(ctx context.Context, typ, key string) error {
	if err := checkKey(typ, key); err != nil {
		return err
	}
	kept, err := s.configure(ctx, keySetting(typ), encodeKey(key, ByConfig))
	if err != nil || kept.Value == nil {
		return err
	}
	_, set, readable := parseKey(kept)
	if readable && set == key {
		return nil
	}
	if !readable {
		set = "unreadable"
	}
	s.logKept(ctx, "a configured key is not applied: a person set another for the type, which holds until it is removed or handed back",
		kept, slog.String("type", typ), slog.String("configured", key), slog.String("in_force", set))
	return nil
}

// configure edits a setting as a configuration may, and returns a person's that it left alone.
func (s *Store) configure(ctx context.Context, what setting, value []byte) (kept stream.Entry, err error) {
	err = s.set(ctx, what, configured(value, &kept))
	return kept, err
}

// configured is the edit to what a configuration says, unless a person said something: that is
// kept, and noted.
func configured(value []byte, kept *stream.Entry) edit {
	return func(there stream.Entry) ([]byte, bool) {
		*kept = stream.Entry{}
		if there.Value != nil && sourceOf(there.Value) == ByPerson {
			*kept = there
			return nil, false
		}
		return value, differs(there, value)
	}
}

// logKept says what is in the way of a configuration, since when, and how to go back. It quotes no
// command: a log escapes the quotes of its JSON, and a person would paste them so.
func (s *Store) logKept(ctx context.Context, msg string, kept stream.Entry, attrs ...slog.Attr) {
	attrs = append(attrs, slog.Time("set", kept.Time.UTC().Truncate(time.Second)),
		slog.String("hand_back", "Client.ResetQuota, or the command in docs/quotas.md"),
		slog.String("bucket", s.bucket.Name()), slog.String("key", kept.Key))
	s.log.LogAttrs(ctx, slog.LevelWarn, msg, attrs...) //nolint:sloglint // one of two constants
}

func inForce(l Limit, readable bool) string {
	if !readable {
		return "unreadable"
	}
	return l.String()
}

// ResetLimit hands a limit back to the configuration of the workers. It holds as it is until a
// worker that has it in its configuration writes its own, at once if one runs. Of a limit that
// is a configuration's, or of none, it changes nothing.
func (s *Store) ResetLimit(ctx context.Context, k slots.Key) error {
	if err := k.Check(); err != nil {
		return err
	}
	return s.set(ctx, settingOf(k), handedBack)
}

// ResetKey is [Store.ResetLimit] for the key of a type.
func (s *Store) ResetKey(ctx context.Context, typ string) error {
	if err := checkKey(typ, ""); err != nil {
		return err
	}
	return s.set(ctx, keySetting(typ), handedBack)
}

// handedBack is the edit that keeps what a setting says and gives up that a person said it. One
// that cannot be read stays so.
func handedBack(there stream.Entry) (value []byte, change bool) {
	if there.Value == nil || sourceOf(there.Value) != ByPerson {
		return nil, false
	}
	if _, key, ok := parseKey(there); ok {
		return encodeKey(key, HandedBack), true
	}
	if l, ok := decodeLimit(there.Value); ok {
		return encodeLimit(l, HandedBack, ""), true
	}
	return encode(keyValue{Source: HandedBack}), true
}

// takenBack is the edit of a running worker to a setting that was handed back. Of several workers
// with different configurations the first one has it, and the others leave it.
func takenBack(value []byte) edit {
	return func(there stream.Entry) ([]byte, bool) {
		return value, there.Value != nil && sourceOf(there.Value) == HandedBack
	}
}
