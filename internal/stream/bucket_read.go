package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// PageSize is how many keys one answer has when there are too many for one.
const PageSize = 1000

// pageBytes is about how much one answer has: so much arrives in time over a slow connection as well,
// and far less than the broker sends at once.
const pageBytes = 1 << 20

// ErrTooMany says that there are more keys than one answer of the server can have, or larger ones.
var ErrTooMany = errors.New("too many keys for one answer of the broker")

// Read returns the newest entry of every key that matches one of the filters, and a revision up
// to which this is the truth. It may lag behind the leader of a cluster: what it leads to is
// written under a condition.
func (b *Bucket) Read(ctx context.Context, filters ...string) (entries []Entry, upTo uint64, err error) {
	entries, upTo, err = b.ReadAtOnce(ctx, filters...)
	if errors.Is(err, ErrTooMany) {
		return b.readOneByOne(ctx, filters)
	}
	return entries, upTo, err
}

// ReadAtOnce is Read for up to 1,024 keys of a megabyte in all; of more it returns [ErrTooMany].
func (b *Bucket) ReadAtOnce(ctx context.Context, filters ...string) (entries []Entry, upTo uint64, err error) {
	subjects := make([]string, len(filters))
	for i, f := range filters {
		subjects[i] = b.subject(f)
	}
	entries, end, err := b.directGet(ctx, map[string]any{"multi_last": subjects, "max_bytes": pageBytes})
	if err == nil && number(end, headerPending) > 0 {
		err = ErrTooMany
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", filters[0], err)
	}
	return entries, number(end, headerUpTo), nil
}

// Peek is Read for those who only look: it does not make the bucket where it is missing, which is
// [ErrNotFound].
func (b *Bucket) Peek(ctx context.Context, filters ...string) (entries []Entry, err error) {
	peeked := *b
	peeked.peek = true
	entries, _, err = peeked.Read(ctx, filters...)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, ErrNotFound
	}
	return entries, err
}

// readOneByOne is Read in pages, for any number of keys.
func (b *Bucket) readOneByOne(ctx context.Context, filters []string) (entries []Entry, upTo uint64, err error) {
	for i, filter := range filters {
		found, first, err := b.ReadPages(ctx, filter, 1)
		if err != nil {
			return nil, 0, err
		}
		if entries = append(entries, found...); i == 0 || first < upTo {
			upTo = first
		}
	}
	return entries, upTo, nil
}

// ReadPages returns the entries of the filter's keys from a revision on, however many there are,
// in the order in which they were written; and a revision up to which nothing is missing.
//
// A key that is written while the pages are read comes again on a later one, or its new revision
// is above all that were read: a write under the condition that those are the newest is refused.
// So it is as good as one look at all, though hours may pass between two pages. What expires
// meanwhile may still be among them.
func (b *Bucket) ReadPages(ctx context.Context, filter string, from uint64) (entries []Entry, first uint64, err error) {
	newest := make(map[string]int) // by key: its place
	for {
		page, end, err := b.directGet(ctx, map[string]any{"next_by_subj": b.subject(filter), "seq": max(from, 1), "batch": PageSize, "max_bytes": pageBytes})
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", filter, err)
		}
		for _, e := range page {
			if at, ok := newest[e.Key]; ok {
				entries[at] = e
				continue
			}
			newest[e.Key] = len(entries)
			entries = append(entries, e)
		}
		if len(page) == 0 {
			return entries, first, nil
		}
		from = page[len(page)-1].Rev + 1
		if first == 0 {
			first = from - 1
		}
		if number(end, headerPending) == 0 {
			return entries, first, nil
		}
	}
}

// Keys returns the keys that match a filter, without what they have. One that was removed or has
// expired a short while ago may be among them. It is for few keys: the broker makes a list of all.
func (b *Bucket) Keys(ctx context.Context, filter string) (keys []string, err error) {
	keys, err = b.client.Subjects(ctx, b.stream, b.subject(filter))
	if err != nil {
		return nil, fmt.Errorf("keys %s: %w", filter, err)
	}
	for i, subject := range keys {
		keys[i] = subject[len(b.subject("")):]
	}
	return keys, nil
}

// Count returns how many keys match a filter, those included that were removed and have left a marker. It
// may lag behind the leader.
func (b *Bucket) Count(ctx context.Context, filter string) (uint64, error) {
	n, err := b.client.Count(ctx, b.stream, b.subject(filter))
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", filter, err)
	}
	return n, nil
}

// directGet asks for messages and returns them with the header of what ended them.
func (b *Bucket) directGet(ctx context.Context, query map[string]any) (entries []Entry, end nats.Header, err error) {
	short, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	found, end, err := b.client.direct(short, b.stream, query)
	if err != nil {
		return nil, nil, b.remake(ctx, err)
	}
	for _, m := range found {
		entries = append(entries, b.entry(m.Subject, m.Seq, m.Header, m.Data))
	}
	return entries, end, nil
}
