package web

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// A route is what the dashboard answers to. Of the four ways to answer it has one.
type route struct {
	method, path string // as [http.ServeMux] takes them, without the base
	may          Permission

	page pageFunc   // shows a page, and keeps it up to date below /live
	do   opFunc     // changes something, and sends back to where the form was
	tell answerFunc // tells a program
	raw  plainFunc  // anything else

	// Of what programs change: the fields of its body, and what the address adds to them.
	fields []string
	form   formFunc
}

type (
	// A pageFunc returns what a page shows now.
	pageFunc func(context.Context, *visit) (*page, error)
	// An opFunc changes something, and returns what is to be said of it.
	opFunc func(context.Context, *visit) (*notice, error)
	// A plainFunc writes an answer of its own.
	plainFunc func(context.Context, *visit) error
)

// routes is the table of all there is, and who may ask for it. Everything else is not found.
func (h *Handler) routes() []route {
	return append(h.apiRoutes(), []route{
		{method: http.MethodGet, path: "/{$}", may: MayView, page: h.overviewPage},
		{method: http.MethodGet, path: "/queues", may: MayView, page: h.queuesPage},
		{method: http.MethodGet, path: "/queues/{queue}", may: MayView, page: h.queuePage},
		{method: http.MethodGet, path: "/types", may: MayView, page: h.typesPage},
		{method: http.MethodGet, path: "/types/{type}", may: MayView, page: h.typePage},
		{method: http.MethodGet, path: "/jobs", may: MayView, page: h.jobsPage},
		{method: http.MethodPost, path: "/jobs", may: MayView, do: h.doToJobs}, // which asks for the permission of what is done
		{method: http.MethodGet, path: "/enqueue", may: MayEnqueue, page: h.enqueuePage},
		{method: http.MethodPost, path: "/enqueue", may: MayEnqueue, do: h.enqueue},
		{method: http.MethodPost, path: "/reschedule", may: MayRetry, do: h.reschedule},
		{method: http.MethodGet, path: "/jobs/{queue}/{type}/{id}", may: MayView, page: h.jobPage},
		{method: http.MethodGet, path: "/jobs/{queue}/{type}/{id}/payload", may: MayPayload, raw: h.payload},
		{method: http.MethodGet, path: "/bulk/new", may: MayView, page: h.bulkNewPage}, // likewise, as the next three
		{method: http.MethodPost, path: "/bulk", may: MayView, do: h.startBulk},
		{method: http.MethodGet, path: "/bulk/{bulk}", may: MayView, page: h.bulkPage},
		{method: http.MethodPost, path: "/bulk/{bulk}/stop", may: MayView, do: h.stopBulk},
		{method: http.MethodGet, path: "/dead", may: MayView, page: h.deadPage},
		{method: http.MethodGet, path: "/workflows", may: MayView, page: h.workflowsPage},
		{method: http.MethodGet, path: "/workflows/{queue}/{id}", may: MayView, page: h.workflowPage},
		{method: http.MethodPost, path: "/workflows/{queue}/{id}/cancel", may: MayCancel, do: h.cancelWorkflow},
		{method: http.MethodPost, path: "/workflows/{queue}/{id}/retry", may: MayRetry, do: h.retryWorkflow},
		{method: http.MethodPost, path: "/workflows/{queue}/{id}/signal", may: MayEnqueue, do: h.signalWorkflow},
		{method: http.MethodGet, path: "/workers", may: MayView, page: h.workersPage},
		{method: http.MethodGet, path: "/workers/{worker}", may: MayView, page: h.workerPage},
		{method: http.MethodPost, path: "/workers/{worker}/drain", may: MayDrain, do: h.drain},
		{method: http.MethodGet, path: "/limits", may: MayView, page: h.limitsPage},
		{method: http.MethodPost, path: "/limits", may: MayLimits, do: h.setLimit},
		{method: http.MethodGet, path: "/cron", may: MayView, page: h.cronPage},
		{method: http.MethodPost, path: "/cron/{entry}/run", may: MayEnqueue, do: h.runCron},
		{method: http.MethodPost, path: "/cron/{entry}/pause", may: MayPause, do: h.pauseCron},
		{method: http.MethodGet, path: "/activity", may: MayView, page: h.activityPage},
		{method: http.MethodGet, path: "/broker", may: MayView, page: h.brokerPage},
		{method: http.MethodPost, path: "/pause", may: MayPause, do: h.pause},
		{method: http.MethodPost, path: "/resume", may: MayPause, do: h.resume},
		{method: http.MethodGet, path: "/settings", may: MayView, page: h.settingsPage},
		{method: http.MethodPost, path: "/settings", may: MayView, do: h.changeSettings},
		{method: http.MethodGet, path: MetricsPath, may: MayView, raw: h.ofAll(h.metrics)},
		{method: http.MethodGet, path: AutoscalePath, may: MayView, raw: h.ofAll(h.client.AutoscaleHandler())},
	}...)
}

// newMux registers all routes.
func (h *Handler) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range h.routes() {
		mux.HandleFunc(r.method+" "+r.path, h.serve(&r, h.answer))
		if r.page != nil {
			mux.HandleFunc("GET /live"+r.path, h.serve(&r, h.stream))
		}
	}
	mux.HandleFunc("GET /static/{file}", h.files.serve)
	mux.HandleFunc("/", h.serve(&route{may: MayView, raw: h.notFound}, h.answer))
	return mux
}

// notFound says that there is nothing, or nothing that is done in this way.
func (h *Handler) notFound(_ context.Context, v *visit) error {
	if others := h.methodsOf(v.r); len(others) > 0 {
		v.w.Header().Set("Allow", strings.Join(others, ", "))
		return &problem{status: http.StatusMethodNotAllowed, title: "This is not done so", text: v.r.URL.Path + " is no address for " + v.r.Method + ".", hint: "It takes " + strings.Join(others, ", ") + "."}
	}
	return &problem{status: http.StatusNotFound, title: "There is no such page", text: "Nothing is at " + v.r.URL.Path + "."}
}

// methodsOf are those that the path of a request takes.
func (h *Handler) methodsOf(r *http.Request) (all []string) {
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		asked := &http.Request{Method: method, Host: r.Host, URL: r.URL}
		if _, pattern := h.mux.Handler(asked); pattern != "/" {
			all = append(all, method)
		}
	}
	return all
}

// serve checks that whoever asks may, and answers.
func (h *Handler) serve(r *route, answer func(context.Context, *visit, *route) error) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		v := h.newVisit(w, req)
		err := v.authenticate(req.Context())
		if err == nil && !h.may(v.user, r.may) {
			h.auditRefused(req.Context(), v, r)
			err = v.forbidden(r.may)
		}
		if err == nil {
			err = answer(req.Context(), v, r)
		}
		if err != nil {
			v.fail(err) //nolint:contextcheck // the visit has the request, and so its context
		}
	}
}

// answer answers once.
func (h *Handler) answer(ctx context.Context, v *visit, r *route) error {
	switch {
	case r.page != nil:
		p, err := r.page(ctx, v)
		if err != nil {
			return err
		}
		return v.show(p, http.StatusOK)
	case r.do != nil:
		if err := v.readFields(ctx, r); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, opWithin)
		defer cancel()
		n, err := r.do(ctx, v)
		h.data.view.Refresh() // whatever came of it
		h.groups.forget()
		h.flows.forget()
		if err != nil {
			return err
		}
		if v.isAPI() {
			return v.writeJSON(http.StatusOK, n.told())
		}
		v.redirect(n)
		return nil
	case r.tell != nil:
		answer, err := r.tell(ctx, v)
		if err != nil {
			return err
		}
		return v.writeJSON(http.StatusOK, answer)
	}
	return r.raw(ctx, v)
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.setHeaders(w)
	at, below := strings.CutPrefix(r.URL.Path, h.base)
	below = below && h.base != "" && (at == "" || at[0] == '/')
	if below && at != "" {
		r = withPath(r, at)
	}
	if p := h.reachable(r); p != nil {
		h.refuse(w, r, p)
		return
	}
	if below && at == "" {
		http.Redirect(w, r, h.base+"/", http.StatusMovedPermanently)
		return
	}
	if clean := cleaned(r.URL.Path); clean != r.URL.Path { // [http.ServeMux] would send there, too, and without the base
		to := url.URL{Path: h.base + clean, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, to.String(), http.StatusPermanentRedirect)
		return
	}
	r = h.forwarded(r)
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	h.csrf.Handler(h.mux).ServeHTTP(w, r)
}

// cleaned is a path without what leads nowhere else.
func cleaned(at string) string {
	clean := path.Clean("/" + at)
	if strings.HasSuffix(at, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// withPath is a request for another path.
func withPath(r *http.Request, at string) *http.Request {
	out := r.Clone(r.Context())
	out.URL.Path, out.URL.RawPath = at, ""
	return out
}
