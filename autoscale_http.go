package millhand

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/timespan"
)

// AutoscaleHandler returns a handler of GET requests that answers with an [Autoscale] in JSON. The
// fields of an [AutoscaleQuery] are its parameters:
//
//	types=email,sms&queue=default&concurrency=16&target=60s&min=1&max=50
//
// Whatever cannot be answered is {"error":{"code","text","hint"}}: 400 for a query that breaks a rule,
// and 503 if something is not known.
func (c *Client) AutoscaleHandler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		q, err := readAutoscaleQuery(r.URL.Query())
		var a *Autoscale
		if err == nil {
			a, err = c.Autoscale(r.Context(), q)
		}
		var body any = a
		status := http.StatusOK
		switch {
		case errors.Is(err, ErrInvalid):
			status = http.StatusBadRequest
			body = apiError("invalid", err, "use types=a,b queue=q concurrency=16 target=60s min=1 max=50, each of which can be left out")
		case err != nil:
			status = http.StatusServiceUnavailable
			body = apiError("unknown", err, "keep the workers there are, and ask again")
		}
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Cache-Control", "no-store")
		rw.WriteHeader(status)
		_ = json.NewEncoder(rw).Encode(body) // the client went away
	})
}

func apiError(code string, err error, hint string) any {
	return map[string]any{"error": map[string]string{"code": code, "text": err.Error(), "hint": hint}}
}

// readAutoscaleQuery refuses what it does not know: a misspelt parameter would go unnoticed for long.
func readAutoscaleQuery(values url.Values) (q AutoscaleQuery, err error) {
	for name, all := range values {
		if len(all) > 1 {
			return q, invalid(&job.InvalidError{What: "parameter " + name, Rule: "is given twice"})
		}
		text := all[0]
		switch name {
		case "types":
			q.Types = slices.DeleteFunc(strings.Split(text, ","), func(t string) bool { return t == "" })
		case "queue":
			q.Queue = text
		case "target":
			q.Target, err = timespan.Parse(text)
		case "concurrency":
			q.Concurrency, err = wholeNumber(text)
		case "min":
			q.Min, err = wholeNumber(text)
		case "max":
			q.Max, err = wholeNumber(text)
		default:
			return q, invalid(&job.InvalidError{What: "parameter", Name: name, Rule: "there is none of this name"})
		}
		if err != nil {
			return q, invalid(&job.InvalidError{What: "parameter " + name, Rule: err.Error()})
		}
	}
	return q, nil
}

// wholeNumber reads a number, and says what is wrong with it in words.
func wholeNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0: // which leaves the largest number
		return 0, fmt.Errorf("%q is too large: at most %d", text, math.MaxInt)
	case err != nil:
		return 0, fmt.Errorf("%q is no whole number", text)
	}
	return n, nil
}
