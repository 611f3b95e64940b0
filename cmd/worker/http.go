package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

const (
	maxHTTPResult  = 1 << 20 // bytes of a 2xx answer's body
	maxErrorBody   = 1 << 10 // bytes of any other's, for the failure's text
	idlePerHost    = 100     // connections kept, so that as many jobs at once open no new ones
	maxRedirects   = 10
	maxRetryAfter  = 24 * time.Hour // what an answer can ask for at most
	idempotencyKey = "Idempotency-Key"

	headerTraceParent = "traceparent" // of W3C Trace Context, as are the keys of a job's trace
	headerTraceState  = "tracestate"
)

// httpTimeout is how long a request may take if its type does not say: a server that never
// answers must not keep a slot for good.
const httpTimeout = 5 * time.Minute

// An httpType runs its jobs as POSTs of their payload to one URL.
type httpType struct {
	url     *url.URL
	headers http.Header // may hold secrets
	client  *http.Client
	conceal *strings.Replacer // takes secrets out of the text of an error
	trouble *trouble
}

// newHTTPType reads header values of the form env:NAME now.
func newHTTPType(cfg httpConfig, t *trouble) (*httpType, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	headers, secrets, err := resolveHeaders(cfg.Headers)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if t, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = t.Clone()
	}
	transport.MaxIdleConnsPerHost, transport.MaxIdleConns = idlePerHost, 0
	return &httpType{
		url: u, headers: headers, conceal: concealer(slices.Concat(secrets, urlSecrets(u), proxySecrets())), trouble: t,
		client: &http.Client{Transport: transport, CheckRedirect: redirectPolicy(headers, cfg.Redirects == nil || bool(*cfg.Redirects))},
	}, nil
}

// parseURL returns an error of its own: the parser's would quote a password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("url %q: want http://HOST/… or https://HOST/…", cli.Redact(text))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("url %q: %s is no port, which is a number from 1 to 65535", cli.Redact(text), port)
		}
	}
	return u, nil
}

// handle posts a job. The body of a 2xx answer is the result. An answer that asks for another
// try (408, 425, 429, 503) gets one when it says; 5xx and all failures to get an answer are
// tried again with the usual backoff; any other 4xx is permanent.
//
// Redirects 307 and 308 are followed, since they keep method and body. The others would
// turn the POST into a GET: they are not followed, and tried again, since a site sends
// them also while it is down for maintenance.
func (h *httpType) handle(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	return h.trouble.patiently(ctx, func() ([]byte, error) { return h.post(ctx, j) })
}

func (h *httpType) post(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.String(), bytes.NewReader(j.Args.Payload))
	if err != nil {
		return nil, millhand.Permanent(errors.New(h.conceal.Replace(err.Error())))
	}
	setHeaders(req, h.headers, j)
	resp, err := h.client.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // its text repeats the URL, query and all
		}
		return nil, &requestError{text: "POST " + shown(h.url) + ": " + h.conceal.Replace(err.Error()), err: err}
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	if resp.StatusCode/100 == 2 {
		return readResult(h.url, resp)
	}
	return nil, h.refusal(resp)
}

// A requestError is an error of the HTTP client whose text has been cleared of secrets.
type requestError struct {
	text string
	err  error
}

func (e *requestError) Error() string { return e.text }
func (e *requestError) Unwrap() error { return e.err }

func setHeaders(req *http.Request, configured http.Header, j *millhand.Job[millhand.Raw]) {
	h := req.Header
	h.Set("User-Agent", "millhand")
	h.Set("Content-Type", "application/octet-stream")
	if json.Valid(j.Args.Payload) && utf8.Valid(j.Args.Payload) {
		h.Set("Content-Type", "application/json")
	}
	maps.Copy(h, configured)
	if host := configured.Get("Host"); host != "" {
		req.Host = host // net/http takes it from here only
	}
	for _, key := range slices.Sorted(maps.Keys(j.Meta)) {
		h.Set("Millhand-Meta-"+key, j.Meta[key])
	}
	h.Set("Millhand-Id", j.ID)
	h.Set("Millhand-Type", j.Type)
	h.Set("Millhand-Queue", j.Queue)
	h.Set("Millhand-Attempt", strconv.Itoa(j.Attempt))
	if !j.Tick.IsZero() {
		h.Set("Millhand-Tick", j.Tick.Format(time.RFC3339))
	}
	h.Set(idempotencyKey, j.ID)
	setTrace(h, j.Trace)
}

// setTrace has the request belong to the job's trace. One that cannot be sent is left out: the job
// must not fail for it.
func setTrace(h http.Header, trace map[string]string) {
	parent, state := trace[headerTraceParent], trace[headerTraceState]
	if parent == "" || !isPrintable(parent) {
		return // a state means nothing without it
	}
	h.Set(headerTraceParent, parent)
	h.Del(headerTraceState)
	if state != "" && isPrintable(state) {
		h.Set(headerTraceState, state)
	}
}

// isPrintable reports whether s has nothing but printable ASCII.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f })
}

// redirectPolicy follows what stays a POST, or nothing. The configured headers may hold
// secrets, which are for the configured server alone.
func redirectPolicy(configured http.Header, follow bool) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if !follow || req.Method != http.MethodPost {
			return http.ErrUseLastResponse
		}
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		req.Header.Del("Referer") // it would repeat the query
		if !sameServer(via[0].URL, req.URL) {
			req.Header.Del("Authorization") // of the URL's user
			for name := range configured {
				if name != "Content-Type" {
					req.Header.Del(name)
				}
			}
		}
		return nil
	}
}

// sameServer reports whether to is the server of from, or what that has for https instead.
func sameServer(from, to *url.URL) bool {
	if from.Hostname() != to.Hostname() {
		return false
	}
	if from.Scheme == "http" && portOf(from) == "80" && to.Scheme == "https" && portOf(to) == "443" {
		return true
	}
	return from.Scheme == to.Scheme && portOf(from) == portOf(to)
}

func portOf(u *url.URL) string {
	switch port := u.Port(); {
	case port != "":
		return port
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// readResult returns a 2xx answer's body. One that is too large is a permanent failure:
// the work is done, and doing it again would not make it smaller.
func readResult(u *url.URL, resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHTTPResult+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("POST %s: %s: read the body: %w", shown(u), resp.Status, err)
	case len(body) > maxHTTPResult:
		return nil, millhand.Permanent(fmt.Errorf("POST %s: %s: the body is larger than 1 MiB", shown(u), resp.Status))
	}
	return body, nil
}

// refusal is the error of an answer that is not 2xx.
func (h *httpType) refusal(resp *http.Response) error {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what there is of it
	text := strings.TrimSpace(strings.ToValidUTF8(string(head), "\uFFFD"))
	if location, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
		text = "not followed to " + shown(location)
	}
	if text != "" {
		text = ": " + text
	}
	err := errors.New(h.conceal.Replace(fmt.Sprintf("POST %s: %s%s", shown(h.url), resp.Status, text)))
	switch code := resp.StatusCode; {
	case asksForRetry(code):
		if d := retryAfter(resp.Header.Get("Retry-After"), time.Now()); d > 0 {
			return millhand.RetryAfter(d, err)
		}
	case code/100 == 4:
		return millhand.Permanent(err)
	}
	return err
}

// asksForRetry reports whether a status says that the same request may succeed later.
func asksForRetry(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// retryAfter reads seconds or a date, and takes at most maxRetryAfter; 0 is for one that is
// missing, wrong or over, which leaves the delay to the backoff.
func retryAfter(value string, now time.Time) time.Duration {
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // which leaves the largest number
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(0, at.Sub(now)), maxRetryAfter)
}
