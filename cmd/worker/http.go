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
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

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
)

// newHTTPHandler returns the handler of a configuration, whose header values of the form
// env:NAME are read now.
func newHTTPHandler(cfg httpConfig) (millhand.HandlerFunc, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "": // the parser's error would quote a password
		return nil, fmt.Errorf("http: url %q: want http://HOST/… or https://HOST/…", cli.Redact(cfg.URL))
	}
	headers, err := resolveHeaders(cfg.Headers)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if t, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = t.Clone()
	}
	transport.MaxIdleConnsPerHost, transport.MaxIdleConns = idlePerHost, 0
	return httpHandler(u, headers, &http.Client{Transport: transport}), nil
}

func resolveHeaders(configured map[string]string) (http.Header, error) {
	h := make(http.Header, len(configured))
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		value := configured[name]
		if variable, ok := strings.CutPrefix(value, "env:"); ok {
			if value, ok = os.LookupEnv(variable); !ok {
				return nil, fmt.Errorf("header %s: the environment has no %s", name, variable)
			}
		}
		if !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("header %q: no header can have this name or value", name)
		}
		h.Set(name, value)
	}
	return h, nil
}

// isToken reports whether s is a token of RFC 9110, as a header's name must be.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// httpHandler runs a job as a POST of its payload. The body of a 2xx answer is the result.
// 429 and 503 are tried again when the answer says, 5xx and all failures to get an
// answer with the usual backoff; any other 4xx is permanent.
//
// Redirects 307 and 308 are followed, since they keep method and body. The others would
// turn the POST into a GET: they are not followed, and tried again, since a site sends
// them also while it is down for maintenance.
func httpHandler(u *url.URL, headers http.Header, client *http.Client) millhand.HandlerFunc {
	c := *client
	c.CheckRedirect = redirectPolicy(headers)
	return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(j.Args.Payload))
		if err != nil {
			return nil, millhand.Permanent(err)
		}
		setHeaders(req, headers, j)
		resp, err := c.Do(req)
		if err != nil {
			if wrapped, ok := errors.AsType[*url.Error](err); ok {
				err = wrapped.Err // its text repeats the URL, query and all
			}
			return nil, fmt.Errorf("POST %s: %w", shown(u), err)
		}
		defer func() { _ = resp.Body.Close() }() // it was read
		if resp.StatusCode/100 == 2 {
			return readResult(u, resp)
		}
		return nil, refusal(u, resp)
	}
}

func setHeaders(req *http.Request, configured http.Header, j *millhand.Job[millhand.Raw]) {
	h := req.Header
	h.Set("User-Agent", "millhand")
	h.Set("Content-Type", "application/octet-stream")
	if json.Valid(j.Args.Payload) {
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
	h.Set(idempotencyKey, j.ID)
}

// redirectPolicy follows what stays a POST. The configured headers may hold secrets, which
// are for the configured host alone.
func redirectPolicy(configured http.Header) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if req.Method != http.MethodPost {
			return http.ErrUseLastResponse
		}
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		first := via[0].URL
		if req.URL.Hostname() != first.Hostname() || first.Scheme == "https" && req.URL.Scheme != "https" {
			for name := range configured {
				if name != "Content-Type" {
					req.Header.Del(name)
				}
			}
		}
		return nil
	}
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
func refusal(u *url.URL, resp *http.Response) error {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what there is of it
	text := strings.TrimSpace(strings.ToValidUTF8(string(head), "\uFFFD"))
	if location, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
		text = "not followed to " + shown(location)
	}
	if text != "" {
		text = ": " + text
	}
	err := fmt.Errorf("POST %s: %s%s", shown(u), resp.Status, text)
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		if d := retryAfter(resp.Header.Get("Retry-After"), time.Now()); d > 0 {
			return millhand.RetryAfter(d, err)
		}
	case code/100 == 4:
		return millhand.Permanent(err)
	}
	return err
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

// shown is a URL without what may be secret in it.
func shown(u *url.URL) string {
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return clean.String()
}
