package web

import (
	"context"
	_ "embed" // the document
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
)

// apiPath is below which programs are answered in JSON.
const apiPath = "/api/v1"

// openAPI is what programs can ask, and what they are answered.
//
//go:embed openapi.json
var openAPI []byte

// An answerFunc returns what a program is told.
type answerFunc func(context.Context, *visit) (any, error)

// A teller is what a page shows, as programs are told it.
type teller interface {
	tell(v *visit) any
}

// A refuser may refuse to tell it.
type refuser interface {
	refusal(v *visit) error
}

// told is what a page shows, for programs: both come from the same look, with the same left out.
func told(show pageFunc) answerFunc {
	return func(ctx context.Context, v *visit) (any, error) {
		p, err := show(ctx, v)
		if err != nil {
			return nil, err
		}
		t, ok := p.data.(teller)
		if !ok {
			return nil, fmt.Errorf("web: nothing is told of %s", p.template)
		}
		if r, ok := p.data.(refuser); ok {
			if err := r.refusal(v); err != nil {
				return nil, err
			}
		}
		return t.tell(v), nil
	}
}

// apiRoutes are those for programs. What they read is what pages show, and what they do is what forms do.
func (h *Handler) apiRoutes() []route {
	const job, bulk, workflow = "/jobs/{queue}/{type}/{id}", "/bulk/{bulk}", "/workflows/{queue}/{id}"
	all := []route{
		{path: "/snapshot", may: MayView, tell: told(h.overviewPage)},
		{path: "/problems", may: MayView, tell: h.tellProblems},
		{path: "/queues", may: MayView, tell: told(h.queuesPage)},
		{path: "/queues/{queue}", may: MayView, tell: told(h.queuePage)},
		{path: "/types", may: MayView, tell: told(h.typesPage)},
		{path: "/types/{type}", may: MayView, tell: told(h.typePage)},
		{path: "/jobs", may: MayView, tell: told(h.jobsPage)},
		{path: job, may: MayView, tell: told(h.jobPage)},
		{path: job + "/why", may: MayView, tell: h.tellWhy},
		{path: job + "/payload", may: MayPayload, raw: h.payload},
		{path: "/dead/groups", may: MayView, tell: told(h.deadPage)},
		{path: "/workflows", may: MayView, tell: told(h.workflowsPage)},
		{path: workflow, may: MayView, tell: told(h.workflowPage)},
		{method: http.MethodPost, path: workflow + "/cancel", may: MayCancel, do: h.cancelWorkflow, fields: []string{"life"}},
		{method: http.MethodPost, path: workflow + "/retry", may: MayRetry, do: h.retryWorkflow, fields: []string{"life"}},
		{method: http.MethodPost, path: workflow + "/signal", may: MayEnqueue, do: h.signalWorkflow, fields: []string{"life", rawField, "step"}},
		{path: "/workers", may: MayView, tell: told(h.workersPage)},
		{path: "/workers/{worker}", may: MayView, tell: told(h.workerPage)},
		{path: "/workers/{worker}/tree", may: MayView, tell: h.tellTree},
		{path: "/limits", may: MayView, tell: told(h.limitsPage)},
		{path: "/cron", may: MayView, tell: told(h.cronPage)},
		{method: http.MethodPost, path: "/cron/{entry}/run", may: MayEnqueue, do: h.runCron},
		{method: http.MethodPost, path: "/cron/{entry}/pause", may: MayPause, do: h.pauseCron, fields: []string{"reason"}},
		{method: http.MethodPost, path: "/cron/{entry}/resume", may: MayPause, do: h.pauseCron, form: always("end", "yes")},
		{path: "/history", may: MayView, tell: h.tellHistory},
		{path: "/activity", may: MayView, tell: told(h.activityPage)},
		{path: "/verify", may: MayVerify, tell: h.tellSetup},
		{path: "/live", may: MayView, raw: h.tellLive},
		{path: "/openapi.json", may: MayView, raw: tellOpenAPI},
		{path: "/bulk/new", may: MayView, tell: told(h.bulkNewPage)},
		{path: bulk, may: MayView, tell: told(h.bulkPage)},
		{method: http.MethodPost, path: "/bulk", may: MayView, do: h.startBulk, form: bulkForm, fields: []string{"do", "filter", "total", "before", "rate"}},
		{method: http.MethodPost, path: bulk + "/stop", may: MayView, do: h.stopBulk},
		{method: http.MethodPut, path: "/limits/{pool}", may: MayLimits, do: h.setLimit, form: fromPath("pool"), fields: []string{"limit", "per"}},
		{method: http.MethodPost, path: "/workers/{worker}/drain", may: MayDrain, do: h.drain},
		{method: http.MethodPost, path: "/workers/{worker}/undrain", may: MayDrain, do: h.drain, form: always("end", "yes")},
	}
	all = append(all,
		route{method: http.MethodPost, path: "/jobs", may: MayEnqueue, do: h.enqueue, fields: []string{"queue", "type", rawField, "id", "in", "at", "max_attempts"}},
		route{method: http.MethodPost, path: job + "/reschedule", may: MayRetry, do: h.reschedule, form: h.jobForm(""), fields: []string{"life", "seq", "in", "at"}})
	for _, at := range []string{"/pauses/{queue}", "/pauses/{queue}/{type}"} {
		all = append(all,
			route{method: http.MethodPut, path: at, may: MayPause, do: h.pause, form: pauseForm, fields: []string{"for", "reason"}},
			route{method: http.MethodDelete, path: at, may: MayPause, do: h.resume, form: fromPath("queue", "type")})
	}
	kinds := operationKinds()
	for _, word := range sortedKeys(kinds) {
		all = append(all, route{method: http.MethodPost, path: job + "/" + word, may: kinds[word].may, do: h.doToJobs, form: h.jobForm(word), fields: []string{"life", "reason", "seq"}})
	}
	for i := range all {
		all[i].path = apiPath + all[i].path
		if all[i].method == "" {
			all[i].method = http.MethodGet
		}
	}
	return all
}

func (v *visit) isAPI() bool { return isAPI(v.r.URL.Path) }

// isAPI reports whether a path, without the base, is one for programs.
func isAPI(at string) bool { return strings.HasPrefix(at, apiPath+"/") }

// writeJSON answers a program. One that has the answer already, by its mark, is not sent it again.
func (v *visit) writeJSON(status int, answer any) error {
	b, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("answer %s: %w", v.r.URL.Path, err)
	}
	head := v.w.Header()
	if v.r.Method == http.MethodGet && status == http.StatusOK {
		sum := fnv.New64a()
		_, _ = sum.Write(b) // a hash takes all
		mark := fmt.Sprintf(`"%x"`, sum.Sum64())
		head.Set("ETag", mark)
		head.Set("Cache-Control", "no-cache, private") // kept, and asked for again each time
		if v.r.Header.Get("If-None-Match") == mark {
			v.w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	head.Set("Content-Type", "application/json")
	out, end := v.compressed(v.w)
	defer end()
	v.w.WriteHeader(status)
	_, _ = out.Write(append(b, '\n')) // the client went away
	return nil
}

// failJSON is the answer to a program of what went wrong.
func (v *visit) failJSON(p *problem) {
	body := map[string]any{"error": map[string]string{
		"code": strings.ReplaceAll(strings.ToLower(http.StatusText(p.status)), " ", "_"), "text": p.title + ": " + p.text, "hint": p.hint,
	}}
	if err := v.writeJSON(p.status, body); err != nil {
		http.Error(v.w, p.Error(), p.status)
	}
}

func tellOpenAPI(_ context.Context, v *visit) error {
	return v.writeJSON(http.StatusOK, json.RawMessage(openAPI))
}
