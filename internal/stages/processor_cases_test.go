package stages_test

import (
	"context"

	"github.com/millhand/millhand/internal/stages"
)

// processor is one whose batches are logged as [pc, name, events].
func (s *scene) processor(name string, f func(event int) []any) *stages.Processor[any, any] {
	p := must(stages.NewProcessor(stages.ProcessorConfig[any, any]{
		Handle: func(_ context.Context, batch, out []any) ([]any, error) {
			s.note("pc", name, append([]any{}, batch...))
			for _, event := range batch {
				out = append(out, f(event.(int))...)
			}
			return out, nil
		},
	}))
	s.start(p)
	return p
}

func identity(event int) []any { return []any{event} }
