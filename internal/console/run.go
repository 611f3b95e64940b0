package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/term"
)

// Options say where a console is drawn.
type Options struct {
	In     io.Reader
	Out    io.Writer
	Colors bool
	UTC    bool // the clock at the head is that of UTC, else that of the local zone
	Mouse  bool // it heeds the mouse, with which the terminal then marks no text
}

// frames is how often the terminal is drawn in a second at most.
const frames = 20

// Run shows the console until it is left or ctx ends.
func Run(ctx context.Context, s Source, o Options) error {
	zone := time.Local
	if o.UTC {
		zone = time.UTC
	}
	p := &program{ctx: ctx, source: s, zone: zone, mouse: o.Mouse, model: newModel(s, o.Colors, time.Now().In(zone)), stop: func() {}}
	if err := checkSize(o.Out); err != nil {
		return err
	}
	t := tea.NewProgram(p, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithFPS(frames), tea.WithFilter(clampSize))
	p.tell = func(text string) { t.Send(toldMsg{text}) }
	_, err := t.Run()
	p.stop()
	p.acting.Wait()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// The largest terminal that is drawn on. Each place of one takes some 200 bytes, in what was drawn and what is to be.
const (
	mostWidth  = 1000
	mostHeight = 500
)

// checkSize refuses a terminal that is larger than any screen: what says so is wrong.
func checkSize(out io.Writer) error {
	f, ok := out.(*os.File)
	if !ok {
		return nil
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err == nil && (width > mostWidth || height > mostHeight) {
		return &SizeError{Width: width, Height: height}
	}
	return nil
}

// A SizeError says that a terminal is larger than can be drawn on.
type SizeError struct{ Width, Height int } // in columns and lines

func (e *SizeError) Error() string {
	return fmt.Sprintf("the terminal says that it has %d columns and %d lines; at most %d and %d can be drawn on (stty cols 200 rows 60 sets them)", e.Width, e.Height, mostWidth, mostHeight)
}

// clampSize has no more drawn of a terminal that has become too large than can be.
func clampSize(_ tea.Model, msg tea.Msg) tea.Msg {
	if size, ok := msg.(tea.WindowSizeMsg); ok {
		return tea.WindowSizeMsg{Width: min(size.Width, mostWidth), Height: min(size.Height, mostHeight)}
	}
	return msg
}

// A program is a model on a terminal. It implements [tea.Model].
type program struct {
	ctx    context.Context //nolint:containedctx // effects run in it, and Bubble Tea hands none over
	source Source
	zone   *time.Location
	mouse  bool
	model  *model

	tell   func(text string)
	stop   context.CancelFunc // the operation that is under way
	acting sync.WaitGroup
}

// Init implements [tea.Model].
func (p *program) Init() tea.Cmd { return tick() }

func tick() tea.Cmd {
	return tea.Tick(time.Second, func(at time.Time) tea.Msg { return tickMsg{at} })
}

// Update implements [tea.Model].
func (p *program) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmds []tea.Cmd
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		msg = sizeMsg{m.Width, m.Height}
	case tea.KeyPressMsg:
		msg = keyMsg{m.String(), m.Text}
	case tea.MouseClickMsg:
		if m.Button != tea.MouseLeft {
			return p, nil
		}
		msg = clickMsg{m.X, m.Y}
	case tea.MouseWheelMsg:
		msg = keyMsg{name: map[tea.MouseButton]string{tea.MouseWheelUp: "up", tea.MouseWheelDown: "down"}[m.Button]}
	case tea.PasteMsg:
		msg = keyMsg{"paste", strings.Join(strings.Fields(m.Content), " ")}
	case tickMsg:
		msg = tickMsg{m.at.In(p.zone)}
		cmds = append(cmds, tick())
	}
	for _, e := range p.model.step(msg) {
		cmds = append(cmds, p.do(e))
	}
	return p, tea.Batch(cmds...)
}

// do carries an effect out.
func (p *program) do(e effect) tea.Cmd {
	switch e := e.(type) {
	case loadEffect:
		return func() tea.Msg {
			page, err := p.source.Load(p.ctx, e.screen)
			return loadedMsg{e.seq, page, err}
		}
	case planEffect:
		return func() tea.Msg {
			plan, err := p.source.Plan(p.ctx, e.operation)
			return plannedMsg{e.operation, plan, err}
		}
	case actEffect:
		ctx, stop := context.WithCancel(p.ctx)
		p.stop = stop
		p.acting.Add(1)
		return func() tea.Msg {
			defer p.acting.Done()
			defer stop()
			text, err := e.plan.Act(ctx, p.tell)
			return actedMsg{text, err}
		}
	case stopEffect:
		p.stop()
	case copyEffect:
		return tea.SetClipboard(e.text)
	case quitEffect:
		return tea.Quit
	}
	return nil
}

// View implements [tea.Model].
func (p *program) View() tea.View {
	v := tea.NewView(p.model.drawn())
	v.AltScreen = true
	if p.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	v.WindowTitle = "millhand"
	return v
}
