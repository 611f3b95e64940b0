package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/configfile"
	"github.com/millhand/millhand/web"
)

const defaultWeb = "127.0.0.1:8280"

func webCommand(a *app) *cobra.Command {
	var address, file string
	var flags web.Flags
	var cmd *cobra.Command
	cmd = a.command(spec{
		use:   "web",
		short: "Serve the dashboard by itself, where no worker does",
		long: "Serve the dashboard, and /metrics/cluster for Prometheus, until SIGINT or SIGTERM. Workers serve them\n" +
			"too; this is for a machine without one, or for credentials of its own: what the broker lets these\n" +
			"do is what anybody can do here. Without --web-auth it is served to this machine only.\n\n" +
			"--config takes what is said of the dashboard from the file of workers: its key web, but notify, which is\n" +
			"theirs. Flags come over it.",
		example: "  millhand web\n  millhand web --http 0.0.0.0:8280 --web-auth basic:/etc/millhand/users --web-origin https://jobs.example.com\n" +
			"  millhand web --config /etc/millhand/millhand.yaml",
		run: func(ctx context.Context, s *session, _ []string) error {
			opts, err := webOptions(file, &flags, cmd.Flags())
			if err != nil {
				return err
			}
			return s.serveWeb(ctx, address, opts, &flags)
		},
	})
	cmd.Flags().StringVar(&address, "http", defaultWeb, "`HOST:PORT` to serve on; without HOST, only this machine can reach it")
	cmd.Flags().StringVarP(&file, "config", "f", "", "YAML `FILE`, of a worker or of its own, of whose key web it takes what is not said by flags")
	flags.Register(cmd.Flags())
	return cmd
}

// webOptions are what a file and flags say of the dashboard.
func webOptions(file string, flags *web.Flags, fs *pflag.FlagSet) (opts web.Options, err error) {
	var d configfile.Dashboard
	if fs.Changed("config") {
		if err := cli.CheckNotEmpty(fs, "config"); err != nil {
			return opts, err
		}
		if d, err = configfile.ReadDashboard(file); err != nil {
			return opts, err
		}
	}
	if opts, err = d.Options(flags, fs.Changed); err != nil {
		return opts, cli.Usagef("%w", err)
	}
	return opts, nil
}

func (s *session) serveWeb(ctx context.Context, address string, opts web.Options, flags *web.Flags) error {
	log := slog.New(slog.NewTextHandler(s.err, nil))
	opts.Logger = log
	client, err := millhand.NewClient(s.nc, millhand.Config{Namespace: s.conn.Namespace, Domain: s.target.Domain, MaxBytes: int64(s.conn.MaxBytes), Logger: log})
	if err != nil {
		return asUsage(err)
	}
	h, err := web.New(client, opts)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	defer h.Close()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return cli.Usagef("--http %q: want HOST:PORT", address)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return fmt.Errorf("--http: %w", err)
	}
	scheme := "http"
	if flags.TLS() {
		scheme = "https"
	}
	if err := s.say("dashboard of %s at %s://%s%s/", client.Config().Namespace, scheme, fromHere(l.Addr()), strings.TrimSuffix(opts.Base, "/")); err != nil {
		return err
	}
	if note := servedNote(l.Addr(), &opts); note != "" {
		s.warn("%s", note)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: h, ReadHeaderTimeout: web.HeaderTimeout, ReadTimeout: web.RequestTimeout, WriteTimeout: web.AnswerTimeout, MaxHeaderBytes: web.MaxHeader}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := flags.Serve(server, l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// fromHere is an address as this machine reaches it.
func fromHere(at net.Addr) string {
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
	}
	return at.String()
}

// servedNote says who is served at an address, if those are fewer than one would think.
func servedNote(at net.Addr, o *web.Options) string {
	if tcp, ok := at.(*net.TCPAddr); !ok || tcp.IP.IsLoopback() || o.Auth != nil || o.Unsafe {
		return ""
	}
	return "only this machine is served, since nobody has to say who they are; --web-auth basic:FILE lets others in"
}
