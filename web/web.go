package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/audit"
	problems "github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/verify"
	"github.com/millhand/millhand/internal/view"
)

// Options say how the dashboard is served. The zero value serves who reaches it over this machine's own
// addresses, with all permissions.
type Options struct {
	// Base is the path below which the dashboard is reached, such as "/ops/jobs". All of its links have
	// it. Requests may come with it or, behind a proxy that strips it, without.
	Base string

	// Auth says who asks. If it is nil nobody has to say so, and only requests over a loopback address are
	// served. It is called for each request, by several goroutines at once, and returns a
	// [*ChallengeError] for one who is to say who they are. It is [Basic], [Proxy], [Token], [Any] of
	// these, or the host's own.
	Auth func(*http.Request) (User, error)

	// Proxies are addresses and networks, such as 10.0.0.0/8, of proxies that are believed in X-Forwarded-For where a
	// request comes from: guesses of passwords are counted and the audit is kept by that. Others are not believed.
	Proxies []string

	// Unsafe serves anybody over any address without Auth, knowingly: whoever reaches it may do all.
	Unsafe bool

	// Origin is the public origin, such as "https://jobs.example.com", behind a proxy that changes Host.
	Origin string

	// Roles are roles besides viewer, operator and admin, or other permissions for these.
	Roles map[string][]Permission

	// ReadOnly leaves nobody any operation.
	ReadOnly bool

	// Redact says what of jobs nobody is shown here.
	Redact Redaction

	// Visible says whether a user sees a type in a queue, or a queue, for which the type is empty. It must
	// be quick. If it is nil, everybody sees all.
	Visible func(u User, queue, typ string) bool

	// Links are templates of addresses elsewhere, by what they lead to: "trace" may have {trace}, and
	// "logs" may have {id}, {queue}, {type} and {trace}.
	Links map[string]string

	// Objective is how old the oldest ready job of a queue may be, by queue; 5 minutes for those left out.
	Objective map[string]time.Duration

	// FrameAncestors are origins that may show the dashboard in a frame. Nobody may if it is empty.
	FrameAncestors []string

	// Logger is told of operations, of refused ones, and of what fails. Defaults to the client's.
	Logger *slog.Logger
}

// A Handler is the dashboard. Make it with [New], and close it when it is served no more.
type Handler struct {
	opts     Options
	base     string // "" or "/a/b"
	log      *slog.Logger
	roles    map[string]permissions
	csrf     *http.CrossOriginProtection
	mux      *http.ServeMux
	pages    *pages
	files    *files
	data     *data
	groups   groupsKnown
	flows    workflowList
	bulks    *bulks
	setup    setup
	metrics  http.Handler
	refusals refusals
	proxies  []netip.Prefix // that are believed
	plain    sync.Once      // passwords that could be read on their way were warned of

	store    *queue.Store
	registry *registry.Store
	client   *millhand.Client
	audit    *audit.Log

	close func()
	once  sync.Once
}

// New returns the dashboard of a client's namespace, over the client's connection. It does no I/O, and
// nothing while nobody looks.
func New(client *millhand.Client, o Options) (*Handler, error) {
	if err := CheckBase(o.Base); err != nil {
		return nil, fmt.Errorf("web: base: %w", err)
	}
	cfg := client.Config()
	if o.Logger == nil {
		o.Logger = cfg.Logger
	}
	h := &Handler{opts: o, base: strings.TrimSuffix(o.Base, "/"), log: o.Logger, client: client, csrf: http.NewCrossOriginProtection()}
	var err error
	if h.roles, err = rolesOf(o.Roles); err != nil {
		return nil, err
	}
	if h.proxies, err = parseNetworks(o.Proxies); err != nil {
		return nil, fmt.Errorf("web: proxies: %w", err)
	}
	if o.Origin != "" {
		if err := h.csrf.AddTrustedOrigin(o.Origin); err != nil {
			return nil, fmt.Errorf("web: origin: %w", err)
		}
	}
	h.csrf.SetDenyHandler(http.HandlerFunc(h.refuseCrossOrigin))
	if h.files, err = loadFiles(h.base); err != nil {
		return nil, err
	}
	if h.pages, err = loadPages(); err != nil {
		return nil, err
	}
	if err := h.connect(client, cfg); err != nil {
		return nil, err
	}
	h.metrics = newMetrics(client, h.log)
	h.mux = h.newMux()
	return h, nil
}

// connect makes what reads and writes.
func (h *Handler) connect(client *millhand.Client, cfg millhand.Config) error {
	h.bulks = newBulks()
	js, err := stream.New(client.Conn(), stream.Config{
		Namespace: cfg.Namespace, Domain: cfg.Domain, MaxBytes: cfg.MaxBytes, Logger: h.log, Wrote: h.bulks.wrote,
	})
	if err != nil {
		return err
	}
	h.registry = registry.NewStore(js, h.log)
	h.store = queue.NewStore(js, queue.Config{Registry: h.registry.Bucket(), Logger: h.log})
	arrival.New(js, h.store, h.registry, h.log) // whoever ends a step counts it
	h.audit = audit.New(js)
	statistics := stats.NewStore(js, h.log)
	h.data = &data{stats: statistics, log: h.log, conn: client.Conn()}
	h.data.view = view.New(view.Config{Client: js, Store: h.store, Registry: h.registry, Fresh: fresh, Starts: h.data.starts})
	h.data.looker = problems.NewLooker(js, h.data.view, statistics, h.objectives())
	h.setup.cfg = verify.Config{Conn: client.Conn(), Client: js, Store: h.store, Registry: h.registry, View: h.data.view}
	h.close = js.Close
	return nil
}

// Close stops operations on many jobs that are under way, and lets go of what the handler keeps on the
// client's connection, which stays open.
func (h *Handler) Close() {
	h.once.Do(func() {
		h.bulks.stop()
		h.close()
	})
}

// CheckBase returns why a text is no [Options.Base], nil if it is one.
func CheckBase(base string) error {
	u, err := url.Parse(base)
	if base != "" && (err != nil || !strings.HasPrefix(base, "/") || strings.Contains(base, "//") || u.Path != base) {
		return fmt.Errorf("%q: want a path such as /ops/jobs", base)
	}
	return nil
}
