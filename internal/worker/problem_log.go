package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/problem"
)

// Of one code, the log names so many problems that begin, and as many that are over, in a period.
const (
	maxProblemLines = 10
	problemPeriod   = time.Hour
)

// A problemLog tells the log what began and what is over. Of all workers it is the one that does so whose look
// is in the statistics. Thousands of types that nobody serves are a problem each, so most are not named.
type problemLog struct {
	log  *slog.Logger
	told map[problem.Code]*problemLines
}

// problemLines are those of a code in a period.
type problemLines struct {
	since       time.Time
	begun, over int
}

func (l *problemLog) tell(ctx context.Context, r *problem.Report, now time.Time) {
	for i := range r.Begun {
		p := &r.Begun[i]
		level := slog.LevelWarn
		if p.Level == problem.Notice {
			level = slog.LevelInfo
		}
		lines := l.of(p.Code, now)
		switch lines.begun++; {
		case lines.begun <= maxProblemLines:
			l.log.LogAttrs(ctx, level, "a problem has begun", slog.String("code", string(p.Code)), slog.String("subject", p.Subject), slog.String("text", p.Text))
		case lines.begun == maxProblemLines+1:
			l.log.LogAttrs(ctx, level, "more problems of a kind have begun, which are not named for an hour: 'millhand status' has them", slog.String("code", string(p.Code)))
		}
	}
	for i := range r.Over {
		s := &r.Over[i]
		lines := l.of(problem.Code(s.Code), now)
		if lines.over++; lines.over <= maxProblemLines {
			l.log.LogAttrs(ctx, slog.LevelInfo, "a problem is over", slog.String("code", s.Code), slog.String("subject", s.Subject), slog.Time("since", s.Since))
		}
	}
}

// of returns the lines of a code, of which there are few.
func (l *problemLog) of(code problem.Code, now time.Time) *problemLines {
	if lines := l.told[code]; lines != nil && now.Sub(lines.since) < problemPeriod {
		return lines
	}
	if l.told == nil {
		l.told = make(map[problem.Code]*problemLines)
	}
	l.told[code] = &problemLines{since: now}
	return l.told[code]
}
