package browser

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var (
	pictures = flag.String("pictures", "", "write a picture of each page into this `DIR`")
	watch    = flag.Duration("watch", 0, "how long TestMemoryIsFlat looks at a page, beyond some updates; more than 10 minutes need -timeout, too")
)

// patience is how long a page may take for what is waited for. It is for a machine that does much else.
const patience = 25 * time.Second

// browser is the one that all tests share, each with tabs of its own.
var browser context.Context

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	path := chromium()
	if path == "" {
		fmt.Println("no Chromium: these tests need one, as 'apt-get install chromium' has it")
		return 1
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.Flag("force-device-scale-factor", "1"), chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(patience),
	)
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	defer cancel()
	var stop context.CancelFunc
	browser, stop = chromedp.NewContext(alloc)
	defer stop()
	if err := chromedp.Do(browser); err != nil {
		fmt.Println("start Chromium:", err)
		return 1
	}
	return m.Run()
}

func chromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// A tab is a page in the browser, with a profile of its own.
type tab struct {
	*testing.T
	ctx    context.Context
	origin string

	mu    sync.Mutex
	wrong []string // that must not have been: errors, refusals of the policy, requests to elsewhere
	asked []string // addresses
}

// open returns a new tab for an origin. When the test ends, nothing may have gone wrong in it.
func open(t *testing.T, origin string) *tab {
	t.Helper()
	return openFor(t, origin, 3*patience)
}

// openFor is open for a test that takes this long.
func openFor(t *testing.T, origin string, limit time.Duration) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, limit)
	t.Cleanup(stop)
	p := &tab{T: t, ctx: ctx, origin: origin}
	if err := chromedp.Listen(ctx, p.note); err != nil {
		t.Fatal(err)
	}
	p.do(call(log.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{}), call(network.Enable, network.EnableParams{}))
	t.Cleanup(p.check)
	return p
}

func (p *tab) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			p.wrong = append(p.wrong, fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *runtime.EventExceptionThrown:
		p.wrong = append(p.wrong, "exception: "+fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			text := ""
			for _, a := range e.Args {
				text += fmt.Sprint(" ", a.Value, a.Description)
			}
			p.wrong = append(p.wrong, "console:"+text)
		}
	case *network.EventRequestWillBeSent:
		p.asked = append(p.asked, e.Request.URL)
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && u.Scheme+"://"+u.Host != p.origin {
			p.wrong = append(p.wrong, "request to elsewhere: "+e.Request.URL)
		}
	}
}

func (p *tab) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wrong {
		p.Error(w)
	}
}

// forgive takes out of what went wrong what a test has brought about.
func (p *tab) forgive(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var rest []string
	for _, w := range p.wrong {
		if !strings.Contains(w, text) {
			rest = append(rest, w)
		}
	}
	p.wrong = rest
}

// call is a command of the protocol as an action.
func call[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.Fatal(err)
	}
}

// goTo opens a page, and waits until its behaviour is there.
func (p *tab) goTo(path string) {
	p.Helper()
	p.do(chromedp.Navigate(p.origin + path))
	p.until(`document.documentElement.dataset.ready === "yes"`)
}

// until waits until an expression holds, on whatever page there is by then, and whether or not it runs
// JavaScript of its own.
func (p *tab) until(expression string) {
	p.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		so, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](`Boolean(document.body && (`+expression+`))`))
		if err == nil && so { // an error is of a page that has just been left
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			body, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body.innerText.slice(0, 2000)`))
			p.Fatalf("waited for %s: %v; the page says:\n%s\nand went wrong: %q", expression, err, body, p.wrong)
		}
	}
}

// sees waits until the page has a text.
func (p *tab) sees(text string) {
	p.Helper()
	p.until(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// press clicks on what a selector means.
func (p *tab) press(selector string) {
	p.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// value evaluates an expression.
func value[T any](p *tab, expression string) T {
	p.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return v
}

// look sets how wide the page is, and its colours.
func (p *tab) look(width int64, theme string) {
	p.Helper()
	p.do(call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}))
}

// forceColours has the page drawn in colours that its reader has chosen.
func (p *tab) forceColours() {
	p.Helper()
	p.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "forced-colors", Value: "active"}, {Name: "prefers-color-scheme", Value: "dark"}}}))
}
