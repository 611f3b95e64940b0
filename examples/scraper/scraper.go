package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

// Bounds of the topology.
const (
	checksPerFilter  = 1 // Pages that a filter has asked for or in hand.
	fetchesPerFilter = 2 // The book leaves this out, and gets 1000.
	retries          = 1 // Of a page that cannot be fetched.
	timeout          = 5 * time.Second
)

// scraper holds the stages. They are made once, and each is run again after a crash.
type scraper struct {
	url     string
	log     *journal
	client  *http.Client
	pages   *stages.Producer[string]
	filters []*stages.Processor[string, string]
	fetcher *stages.ConsumerSupervisor[string]
	fetches *supervisor.Dynamic
	wanted  chan struct{} // Closed once somebody wants pages.
	want    func()
}

func newScraper(url string, log *journal) (*scraper, error) {
	s := &scraper{url: url, log: log, client: &http.Client{Timeout: timeout}, wanted: make(chan struct{})}
	s.want = sync.OnceFunc(func() { close(s.wanted) })
	var err error
	if s.fetches, err = supervisor.NewDynamic(supervisor.DynamicSpec{Name: "fetches"}); err != nil {
		return nil, err
	}
	if s.pages, err = stages.NewProducer(stages.ProducerConfig[string]{Demand: s.demand}); err != nil {
		return nil, err
	}
	s.fetcher, err = stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[string]{
		Start:       s.start,
		Restart:     stages.Transient,
		MaxRestarts: new(retries),
		OnGiveUp:    func(page string, _ error) { log.fate(page, "given up") },
		OnFree:      s.freed,
	})
	if err != nil {
		return nil, err
	}
	for n := range 2 {
		if err := s.addFilter(fmt.Sprint("filter ", n+1)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// terms let a consumer outlive its producer, and find it again.
func terms(maxDemand int) stages.SubscribeOptions[string] {
	return stages.SubscribeOptions[string]{
		MaxDemand: maxDemand, MinDemand: new(0), Cancel: stages.Temporary, Resubscribe: true,
	}
}

// addFilter puts a filter between the pages and the fetcher.
func (s *scraper) addFilter(name string) error {
	f, err := stages.NewProcessor(stages.ProcessorConfig[string, string]{
		Handle: func(ctx context.Context, pages, out []string) ([]string, error) {
			return s.online(ctx, name, pages, out), nil
		},
	})
	if err != nil {
		return err
	}
	s.filters = append(s.filters, f)
	_, errChecks := f.Subscribe(s.pages, terms(checksPerFilter))
	_, errFetches := s.fetcher.Subscribe(f, terms(fetchesPerFilter))
	return errors.Join(errChecks, errFetches)
}

// Add gives the scraper pages to fetch. The stage buffers pages that no consumer has asked for yet.
func (s *scraper) Add(ctx context.Context, pages ...string) error {
	return s.pages.Emit(ctx, pages)
}

// demand has no pages of its own: they come through Add.
func (s *scraper) demand(_ context.Context, n int, none []string) ([]string, error) {
	if s.log.strikes("pages") {
		panic("the producer of pages crashes")
	}
	s.want()
	s.log.say("pages", "asked for %d, with nothing buffered", n)
	return none, nil
}

// online lets the pages pass that answer to a HEAD request.
func (s *scraper) online(ctx context.Context, name string, pages, out []string) []string {
	for _, page := range pages {
		if s.log.strikes(name) {
			s.log.fate(page, "lost in a crash")
			panic(name + " crashes")
		}
		if _, err := s.request(ctx, http.MethodHead, page); err != nil {
			s.log.fate(page, "offline")
			continue
		}
		s.log.say(name, "passes %s on; %d pages are buffered before it", page, s.pages.Buffered())
		out = append(out, page)
	}
	return out
}

// start fetches one page in a supervised child, which outlives a crash of the fetcher. Its slot is freed however it
// ends.
func (s *scraper) start(_ context.Context, page string, slot stages.Slot[string]) error {
	return s.fetches.Start(supervisor.Child{ //nolint:contextcheck // The child's context is its supervisor's.
		Name:    page,
		Restart: supervisor.Temporary,
		Run: func(ctx context.Context) error {
			return slot.Run(func() error { return s.fetch(ctx, page) })
		},
	})
}

func (s *scraper) fetch(ctx context.Context, page string) error {
	size, err := s.request(ctx, http.MethodGet, page)
	if err != nil {
		return err
	}
	s.log.say("fetch", "%s has %d bytes", page, size)
	s.log.fate(page, "fetched")
	return nil
}

// visit adds pages as soon as any are wanted.
func (s *scraper) visit(ctx context.Context, pages []string) error {
	select {
	case <-s.wanted:
		return s.Add(ctx, pages...)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *scraper) freed(n int) {
	s.log.say("fetcher", "has %d slots free again", n)
	if s.log.strikes("fetcher") {
		panic("the fetcher crashes")
	}
}

func (s *scraper) request(ctx context.Context, method, page string) (size int64, err error) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+page, nil)
	if err != nil {
		return 0, err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(io.Discard, answer.Body)
	err = errors.Join(err, answer.Body.Close())
	if answer.StatusCode != http.StatusOK {
		err = errors.Join(err, errors.New(answer.Status))
	}
	return size, err
}

// tree supervises the stages. Each can crash alone: the others stay subscribed, or subscribe again.
func (s *scraper) tree(site *site, pages []string) (*supervisor.Supervisor, error) {
	children := []supervisor.Child{
		{Name: "site", Run: site.Run},
		{Name: "fetches", Part: s.fetches},
		{Name: "pages", RunReady: s.pages.RunReady},
	}
	for n, f := range s.filters {
		children = append(children, supervisor.Child{Name: fmt.Sprint("filter ", n+1), RunReady: f.RunReady})
	}
	children = append(children, supervisor.Child{Name: "fetcher", RunReady: s.fetcher.RunReady}, supervisor.Child{
		Name: "visitor", Restart: supervisor.Transient,
		Run: func(ctx context.Context) error { return s.visit(ctx, pages) },
	})
	return supervisor.New(supervisor.Spec{
		Name:        "scraper",
		MaxRestarts: new(10),
		Children:    children,
		OnEvent: func(e supervisor.Event) {
			if e.Kind == supervisor.ChildRestarting {
				s.log.say("restart", "%s: %v", e.Child, e.Err)
			}
		},
	})
}
