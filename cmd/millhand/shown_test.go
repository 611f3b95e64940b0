package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/verify"
	"github.com/millhand/millhand/internal/view"
)

// shownAs has, for each command, the fields of its JSON that have what the text shows: of a table under the titles of its
// columns, of lines that begin with a word under that word, and whatever else is said under a name of its own in lower
// case. The scripts note which columns and words they see.
var shownAs = map[string]map[string]string{
	"status": {
		"QUEUE": "queues.name", "READY": "queues.types.ready queues.unclaimed", "RUNNING": "queues.running", "LATER": "queues.later",
		"/S": "queues.per_second.ended", "OLDEST": "queues.types.oldest_ready", "EMPTY IN": "queues.empty_in",
		"STATE":  "queues.paused queues.types.workers queues.unclaimed workers",
		"header": "namespace server.url server.version server.cluster at", "problems": "problems.level problems.code problems.since problems.text problems.advice.command",
		"not looked for": "not_looked_for.codes not_looked_for.why", "states": "queues.scheduled queues.retrying queues.later queues.running dead",
		"per second": "per_second.ended per_second.succeeded per_second.failed per_second.dead per_second.arrived",
		"workers":    "workers.concurrency workers.running_total workers.slots_free workers.state", "to look at": "to_look_at.command to_look_at.text",
		"not known": "missing.what missing.why",
	},
	"queues": {
		"QUEUE": "queues.name", "READY": "queues.types.ready queues.unclaimed", "RUNNING": "queues.running", "LATER": "queues.later",
		"/S": "queues.per_second.ended", "OLDEST": "queues.types.oldest_ready", "EMPTY IN": "queues.empty_in",
		"STATE": "queues.paused.by queues.paused.until queues.paused.reason queues.types.workers queues.unclaimed",
		// of one queue
		"TYPE": "types.name", "IN HAND": "types.in_hand", "FAILED": "types.per_second.failed", "WAIT p95": "types.per_second.wait_p95_s", "RUN p95": "types.per_second.run_p95_s",
		"WORKERS": "types.workers", "LIMITS OF": "types.key",
	},
	"types": {
		"TYPE": "types.name", "QUEUE": "types.queue", "READY": "types.ready", "IN HAND": "types.in_hand", "RUNNING": "types.running", "OLDEST": "types.oldest_ready",
		"/S": "types.per_second.ended", "FAILED": "types.per_second.failed types.per_second.dead", "WAIT p95": "types.per_second.wait_p95_s", "RUN p95": "types.per_second.run_p95_s",
		"WORKERS": "types.workers", "LIMITS OF": "types.key", "STATE": "types.paused types.queue_paused types.full.pool types.full.by types.draining",
	},
	"list": {
		"JOB": "jobs.id", "QUEUE": "jobs.queue", "TYPE": "jobs.type", "STATE": "jobs.state", "AGE": "jobs.since", "ATTEMPT": "jobs.attempt",
		"INFO": "jobs.run_at jobs.worker jobs.reason jobs.error", "below": "total.value class looked.messages looked.of looked.order looked.back_to cursor",
	},
	"dead": {
		"JOB": "jobs.id", "QUEUE": "jobs.queue", "TYPE": "jobs.type", "DIED": "jobs.since", "ATTEMPT": "jobs.attempt", "REASON": "jobs.reason", "ERROR": "jobs.error",
		"below": "total.value class looked.messages looked.of looked.order looked.back_to cursor",
	},
	"dead-groups": {
		"GROUP": "groups.group", "DEAD": "groups.count", "SINCE": "groups.since groups.until", "TYPE": "groups.types", "REASON": "groups.reasons", "ERROR": "groups.error",
		"below": "count looked of partial",
	},
	"dead-delete": bulkAs, "retry": actAs, "run": actAs, "cancel": actAs, "cron-run": {"": "results.text"},
	"inspect": {
		"job": "queue type id state attempt max_attempts crashes reason", "life": "life", "enqueued": "enqueued_at trace", "due": "run_at", "payload": "payload payload_base64 size",
		"meta": "meta", "attempts": "events.attempt events.started_at events.time events.node events.event events.error events.trace failures", "result": "events.result", "id": "held_until",
		"now": "state worker since running.progress run_at",
		// of --events and --stack
		"TIME": "events.time", "EVENT": "events.event", "ATTEMPT": "events.attempt", "WORKER": "events.node", "LIFE": "events.life", "ERROR": "events.reason events.error", "stacks": "events.stack",
	},
	"why": {
		"header": "queue type id state since headline", "reasons": "reasons.code reasons.blocking reasons.text reasons.until reasons.since",
		"details": "reasons.data", "to do": "advice.text advice.command",
	},
	"workers": {
		"WORKER": "workers.id", "STATE": "workers.state workers.order.by", "SLOTS": "workers.concurrency", "RUNNING": "workers.running_total", "UP": "workers.started",
		"SEEN": "workers.seen", "VERSION": "workers.version", "QUEUES": "workers.queues",
		"PIPELINES": "workers.pipelines.name workers.pipelines.in_hand workers.pipelines.processed workers.pipelines.failed workers.pipelines.lag", "DASHBOARD": "workers.web",
		// what 'millhand top' and problems say of them
		"objectives": "workers.objectives_s", "clock": "workers.clock_ahead_s", "drain": "workers.draining_since workers.drain_timeout_s", "stuck": "workers.stuck",
		"rebuilt": "workers.rebuilt_at", "statistics": "workers.no_stats", "slots": "workers.slots_free workers.queue_slots_free workers.strict_weights", "in hand": "workers.by_type",
	},
	"workers-drain":   {"": "workers.worker workers.state workers.in_hand dry_run"},
	"workers-undrain": {"": "workers.worker workers.state workers.in_hand dry_run"},
	"running":         {"JOB": "running.queue running.type running.id", "FOR": "running.since", "WORKER": "running.worker", "PROGRESS": "running.progress"},
	"quota":           limitAs("quotas"), "rate": limitAs("rates"),
	"stats": {
		"TYPE": "lines.type", "QUEUE": "lines.queue", "QUEUE/TYPE": "lines.queue lines.type", "FROM": "lines.points.at", "STARTED": "lines.total.started", "SUCCEEDED": "lines.total.succeeded",
		"RETRYING": "lines.total.retrying", "DEAD": "lines.total.dead", "OTHER": "lines.total.cancelled lines.total.snoozed lines.total.handed_back lines.total.lost",
		"WAIT p50": "lines.total.wait_p50_s", "WAIT p95": "lines.total.wait_p95_s", "RUN p50": "lines.total.run_p50_s", "RUN p95": "lines.total.run_p95_s", "BUSY": "lines.total.busy_s",
		"READY": "backlog.ready", "ENDED": "lines.points.succeeded", "below": "from until step_s",
	},
	"verify": {
		"checks": "checks.class checks.id checks.status checks.looked_at checks.of checks.what checks.why", "findings": "checks.findings.text checks.findings.seen checks.advice checks.doc",
		"below": "ok violated skipped took_s",
	},
	"cron": {
		"ENTRY": "entries.name", "SCHEDULE": "entries.schedule entries.zone", "JOB": "entries.queue entries.type", "LAST": "entries.last_tick", "ENDED": "entries.last_end",
		"MISSED": "entries.missed", "SKIPPED": "entries.skipped", "NEXT": "entries.next_tick entries.paused",
	},
	"cron-pause": {"": "paused dry_run"}, "cron-resume": {"": "resumed dry_run"},
	"workflow": {
		"WORKFLOW": "workflows.id", "NAME": "workflows.name", "PHASE": "workflows.phase", "ENDED": "workflows.steps workflows.succeeded workflows.failed workflows.skipped",
		"FAILED": "workflows.failed", "STARTED": "workflows.created_at", "DEADLINE": "workflows.deadline",
	},
	"workflow-show": {
		"header": "id name phase deadline failures", "STEP": "steps.name", "STATE": "steps.state steps.done steps.total steps.failed", "WAITS FOR": "steps.waits",
		"AFTER": "steps.after steps.undoes steps.optional",
	},
	"workflow-start": {"": "workflow.id"}, "workflow-signal": {"": "workflow.id"}, "workflow-cancel": {"": "workflow.id"}, "workflow-retry": {"": "workflow.id"},
	"workflow-repair": {"": "workflow.id repaired.step repaired.fault"},
	"audit": {
		"TIME": "records.time", "BY": "records.by", "FROM": "records.from", "ACTION": "records.action", "COUNT": "records.count", "OUTCOME": "records.outcome records.refused records.failed",
		"OF": "records.ref records.filter records.detail",
	},
	"pause": {"": "paused dry_run"}, "resume": {"": "resumed not_paused dry_run"},
	"autoscale": {
		"TYPE": "types.type", "READY": "types.ready", "RUNNING": "types.running", "COMING/S": "types.due_per_s", "RUN": "types.run_s", "SLOTS": "types.slots",
		"below": "slots workers capped.pool capped.by capped.allowed capped.wanted",
	},
	"check-queue": checkAs, "check-type": checkAs, "check-dead": checkAs, "check-workers": checkAs, "check-broker": checkAs, "check-problems": checkAs,
	"backup":  {"": "bytes sha256 took_s streams.kind streams.queue streams.jobs streams.messages resumed"},
	"restore": {"": "namespace begun by quiesced streams.kind streams.queue streams.jobs streams.messages removed.name removed.messages left_out paused took_s"},
	"version": {"": "version"},
}

var (
	actAs = map[string]string{
		"": "results.queue results.type results.id results.text results.run_at results.existing",
		// with --filter
		"JOB": "sample.id", "STATE": "sample.state", "AGE": "sample.since", "INFO": "sample.error", "look": "matched of types from until per_second", "done": "done refused failed outcomes took_ms cursor",
	}
	bulkAs = map[string]string{
		"JOB": "sample.id", "STATE": "sample.state", "AGE": "sample.since", "INFO": "sample.error", "look": "matched of types from until per_second", "done": "done refused failed outcomes took_ms cursor",
	}
	checkAs = map[string]string{"": "state what text measures bounds.warn bounds.crit"}
)

func limitAs(key string) map[string]string {
	all := map[string]string{
		"POOL": ".name", "LIMIT": ".limit $.per", "RUNNING": ".running", "READY": ".ready", "HELD": ".held $.grants.held", "USED": ".used $.grants.used", "WANTED": ".want $.grants.want",
		"SET BY": ".by $.set $.source", "TYPES": ".types", "WORKER": ".grants.worker",
	}
	for title, fields := range all {
		all[title] = strings.ReplaceAll(key+fields, "$", key)
	}
	all["set"] = "pool limit per was was_per used dry_run"
	all["handed back"] = "reset"
	return all
}

// Whatever the text of a command shows is in its JSON, too, and the contract says where.
func TestTextIsInJSON(t *testing.T) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var all jsonschema.Schema
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for name, schema := range all.Defs {
		command, ok := strings.CutPrefix(name, "command.")
		if !ok {
			continue
		}
		if shownAs[command] == nil {
			t.Errorf("of %s it is not said which fields have what its text shows", name)
		}
		for title, fields := range shownAs[command] {
			for path := range strings.FieldsSeq(fields) {
				if !hasField(&all, schema, strings.Split(path, ".")) {
					t.Errorf("%s: %q is shown, and there is no field %s", name, title, path)
				}
			}
		}
	}
	for command := range shownAs {
		if all.Defs["command."+command] == nil {
			t.Errorf("there is no $defs/command.%s", command)
		}
	}
}

// hasField reports whether what a schema describes has a field, in any of its forms.
func hasField(all, s *jsonschema.Schema, path []string) bool {
	switch {
	case s == nil:
		return false
	case s.Ref != "":
		return hasField(all, all.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")], path)
	case slices.ContainsFunc(s.AnyOf, func(one *jsonschema.Schema) bool { return hasField(all, one, path) }):
		return true
	case s.Items != nil:
		return hasField(all, s.Items, path)
	case len(path) == 0:
		return true
	case s.Properties[path[0]] != nil:
		return hasField(all, s.Properties[path[0]], path[1:])
	case s.AdditionalProperties != nil && s.AdditionalProperties.Not == nil:
		return hasField(all, s.AdditionalProperties, path)
	}
	return false
}

// titles are the lines above tables: words in capitals, with two spaces or more between columns.
var titles = regexp.MustCompile(`(?m)^ *(?:/S|[A-Z][A-Z/]*(?: [A-Z]+| p\d\d)?)(?: {2,}(?:/S|[A-Z][A-Z/]*(?: [A-Z]+| p\d\d)?))+$`)

// inspected are the words before the lines of inspect.
var inspected = regexp.MustCompile(`(?m)^ ([a-z]+) {2,}\S`)

// shownIn are the columns and words of a text.
func shownIn(command, text string) (all []string) {
	for _, line := range titles.FindAllString(text, -1) {
		for title := range strings.SplitSeq(strings.TrimSpace(line), "  ") {
			if title = strings.TrimSpace(title); title != "" {
				all = append(all, title)
			}
		}
	}
	if command == "inspect" {
		for _, m := range inspected.FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
	}
	return all
}

// checkShown returns an error if a text shows something of which it is not said where it is in the JSON.
func checkShown(command, text string) error {
	known := shownAs[command]
	for _, title := range shownIn(command, text) {
		if known != nil && known[title] == "" {
			return fmt.Errorf("%s shows %q, of which shown_test.go has no field of its JSON, only of %q", command, title, slices.Sorted(maps.Keys(known)))
		}
	}
	return nil
}

func TestShownIn(t *testing.T) {
	const text = " QUEUE     READY  /S  EMPTY IN  WAIT p95\n default      A   3  never     –\n\n to look at:\n GROUP  DEAD\n JUST ONE WORD\n"
	if got := shownIn("status", text); !slices.Equal(got, []string{"QUEUE", "READY", "/S", "EMPTY IN", "WAIT p95", "GROUP", "DEAD"}) {
		t.Errorf("%q", got)
	}
	if got := shownIn("inspect", " job       a/b/c   ready\n           more\n now       waits\n"); !slices.Equal(got, []string{"job", "now"}) {
		t.Errorf("%q", got)
	}
	if err := checkShown("status", " QUEUE  NEWS\n"); err == nil || !strings.Contains(err.Error(), `shows "NEWS"`) {
		t.Errorf("a column of which nothing is said: %v", err)
	}
}

// The contract has the fields of the types that are printed, and no others.
func TestSchemaHasTheFields(t *testing.T) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var all jsonschema.Schema
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]any{
		"Advice": problem.Advice{}, "Answer": struct {
			explain.Answer
			Headline string `json:"headline"`
		}{},
		"Autoscale": millhand.Autoscale{}, "AutoscaleCap": millhand.AutoscaleCap{}, "AutoscaleType": millhand.AutoscaleType{},
		"BulkResult": bulkResult{}, "Change": answer.Change{}, "Check": finding{}, "Count": view.Count{}, "CronEntry": answer.CronEntry{},
		"DeadGroup": view.DeadGroup{}, "DeadGroups": view.DeadGroups{}, "Detail": answer.Detail{}, "Drained": drained{}, "EmptyIn": answer.EmptyIn{},
		"Event": queue.Event{}, "ExplainAdvice": explain.Advice{}, "Failure": bulk.Failure{}, "Finding": verify.Finding{}, "FullLimit": answer.FullLimit{}, "Gap": problem.Gap{},
		"Grant": view.Grant{}, "Hint": hint{}, "Job": view.Job{}, "JobRef": millhand.Ref{}, "Listed": answer.Listed{}, "ListedPage": answer.ListedPage{}, "Load": registry.Load{},
		"Looked": view.Looked{}, "MillhandEvent": millhand.Event{}, "MillhandType": answer.Type{}, "Missing": view.Missing{}, "Node": registry.Node{}, "Oldest": view.Oldest{},
		"Order": registry.Order{}, "Outcome": outcome{}, "OwnedPartition": view.OwnedPartition{}, "Pause": registry.Pause{}, "Pipeline": view.Pipeline{},
		"PipelineInfo": millhand.PipelineInfo{}, "PipelinePartition": millhand.PipelinePartition{}, "PipelineProcess": view.PipelineProcess{}, "Pool": view.Pool{},
		"Problem": problem.Problem{}, "Queue": answer.Queue{}, "QueueFailure": queue.Failure{}, "Rate": answer.Rate{}, "Reason": explain.Reason{}, "Record": audit.Record{},
		"Replica": view.Replica{}, "Result": verify.Result{}, "Running": registry.Running{}, "RunningJob": millhand.RunningJob{}, "Server": view.Server{}, "ShownLimit": shownLimit{},
		"ShownQueue": shownQueue{}, "StatsBacklog": answer.StatsBacklog{}, "StatsCounts": answer.StatsCounts{}, "StatsLine": answer.StatsLine{}, "StatsPoint": answer.StatsPoint{},
		"StatsReport": answer.Stats{}, "Status": struct {
			answer.Status
			Hints []hint `json:"to_look_at"`
		}{},
		"Stream": view.Stream{}, "Type": view.Type{}, "WorkerInfo": millhand.WorkerInfo{}, "WorkerLoad": millhand.WorkerLoad{}, "WorkerOrder": millhand.WorkerOrder{},
		"Workflow": millhand.WorkflowInfo{}, "WorkflowStep": millhand.StepInfo{}, "WorkflowSummary": millhand.WorkflowSummary{},
	} {
		schema := all.Defs[name]
		if schema == nil {
			t.Errorf("there is no $defs/%s", name)
			continue
		}
		want, got := slices.Sorted(maps.Keys(fieldsOf(reflect.TypeOf(of)))), slices.Sorted(maps.Keys(schema.Properties))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-fields of %T +schema):\n%s", name, of, diff)
		}
	}
}

// fieldsOf are the fields that a struct has as JSON, those of embedded ones included.
func fieldsOf(typ reflect.Type) map[string]bool {
	all := make(map[string]bool)
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch embedded := f.Type; {
		case name == "-":
		case f.Anonymous && name == "":
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			maps.Copy(all, fieldsOf(embedded))
		case f.IsExported() && name == "":
			all[f.Name] = true
		case f.IsExported():
			all[name] = true
		}
	}
	return all
}
