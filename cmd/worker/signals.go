package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/millhand/millhand/internal/cli"
)

// notify returns the signals that stop the command. A log whose reader went away, as that of
// `worker 2>&1 | head`, does not.
func notify() <-chan os.Signal {
	stop := make(chan os.Signal, 3)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it, which is to last
		signal.Notify(stop, syscall.SIGHUP)
	}
	// Caught, not ignored: commands would inherit that. The write still fails, which costs a
	// line of the log.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return stop
}

// stops counts the signals that ask for a stop. A terminal that closes hangs up more than
// once, by itself and through its shell, so a hang-up asks for no more than the first one does.
type stops struct{ n int }

// next returns which stop sig asks for, from 1, or 0 if it asks for none.
func (s *stops) next(sig os.Signal) int {
	if sig == syscall.SIGHUP && s.n > 0 {
		return 0
	}
	s.n++
	return s.n
}

// watchSignals drains at the first signal, hands running jobs back at the second, and ends
// the process at the third.
func (p *process) watchSignals(ctx context.Context) error {
	for all := (stops{}); ; {
		select {
		case <-ctx.Done():
			return nil
		case sig := <-p.signals:
			switch all.next(sig) {
			case 0: // it drains already
			case 1:
				p.log.InfoContext(ctx, "draining; a second signal hands running jobs back", slog.String("signal", sig.String()))
				p.stop()
			case 2:
				p.log.WarnContext(ctx, "handing running jobs back; a third signal ends the process at once", slog.String("signal", sig.String()))
				p.handedBack.Store(true)
				if w := p.worker.Load(); w != nil {
					w.StopNow()
				}
			default:
				os.Exit(cli.ExitInterrupted)
			}
		}
	}
}
