package console

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A frame is a page as it was loaded, a line of a recording.
type frame struct {
	After  time.Duration `json:"after"` // the recording began, in nanoseconds
	Screen Screen        `json:"screen"`
	Page   *Page         `json:"page"`
}

// Record returns a source that writes each page that another loads to w, from now on: for [Replay]. A page that cannot be
// written is shown all the same, and the error is that of each later load.
func Record(s Source, w io.Writer) *Recorder {
	return &Recorder{Source: s, began: time.Now(), to: json.NewEncoder(w)}
}

// A Recorder is a source that is recorded.
type Recorder struct {
	Source

	began time.Time

	mu  sync.Mutex
	to  *json.Encoder
	err error
}

// Load implements [Source].
func (r *Recorder) Load(ctx context.Context, s Screen) (*Page, error) {
	p, err := r.Source.Load(ctx, s)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = r.to.Encode(frame{time.Since(r.began), s, p})
	}
	if r.err != nil {
		return nil, fmt.Errorf("record: %w", r.err)
	}
	return p, nil
}

// maxFrame is how long a line of a recording may be.
const maxFrame = 16 << 20

// Replay returns a source of what was recorded, as it was at the same time after the beginning, over and over. Screens that
// were not looked at then have nothing, and nothing can be done.
func Replay(r io.Reader) (*Player, error) {
	p := &Player{began: time.Now()}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxFrame)
	for n := 1; lines.Scan(); n++ {
		var f frame
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil || f.Page == nil {
			return nil, fmt.Errorf("line %d is none of a recording: %w", n, errors.Join(err, errNoRecording))
		}
		p.frames = append(p.frames, f)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(p.frames) == 0 {
		return nil, fmt.Errorf("nothing is recorded: %w", errNoRecording)
	}
	p.lasts = p.frames[len(p.frames)-1].After + defaultEvery
	return p, nil
}

var (
	errNoRecording = errors.New("'millhand top --record FILE' writes one")
	errReplayed    = errors.New("this is a recording: nothing can be done to it")
)

// A Player shows a recording.
type Player struct {
	frames []frame
	began  time.Time
	lasts  time.Duration
}

// Load implements [Source].
func (p *Player) Load(_ context.Context, s Screen) (*Page, error) {
	now := time.Since(p.began) % p.lasts
	var shown *Page
	for i := range p.frames {
		f := &p.frames[i]
		if f.Screen != s {
			continue
		}
		if shown != nil && f.After > now {
			break
		}
		shown = f.Page // the first is shown before its time, too
	}
	if shown == nil {
		return nil, errors.New("this was not looked at in the recording")
	}
	out := *shown
	return &out, nil
}

// Plan implements [Source].
func (*Player) Plan(context.Context, Operation) (*Plan, error) { return nil, errReplayed }

// Check implements [Source].
func (*Player) Check(Screen) error { return nil }
