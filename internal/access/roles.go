package access

import "slices"

// of returns a role's permissions with {ns} for the namespace.
func of(r Role) Permissions {
	switch r {
	case Enqueuer:
		return Permissions{
			Publish: slices.Concat(reading(), []string{
				"{ns}.*.ready.*.*", "{ns}.*.later.*.*",
				"{ns}.control.running",                                                                    // who runs a job that is waited for
				"$KV.{ns}-registry.bulk.*",                                                                // how far enqueue --resume has come
				"{ns}.workflow.>", "$KV.{ns}-registry.workflow.*", "$JS.API.STREAM.CREATE.{ns}-workflows", // start of workflows
			}),
			DenyPublish: []string{
				"{ns}.event.>", "{ns}.dead.>", "{ns}.stats.>", // have the form of jobs, and are none
				"$JS.API.STREAM.MSG.GET.{ns}-dead", "$JS.API.DIRECT.GET.{ns}-dead.>", "$JS.API.DIRECT.GET.{ns}-dead",
				"$JS.API.STREAM.MSG.GET.{ns}-stats", "$JS.API.DIRECT.GET.{ns}-stats.>", "$JS.API.DIRECT.GET.{ns}-stats",
			},
			Subscribe: hearing(),
		}
	case Viewer:
		return Permissions{Publish: slices.Concat(reading(), looking()), Subscribe: hearing()}
	case Worker:
		return Permissions{
			Publish: slices.Concat(reading(), []string{
				"$JS.API.STREAM.CREATE.*",                                                                 // leave it out if an admin makes the streams
				"$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.LIST.*", "$JS.API.CONSUMER.NAMES.*", "_INBOX.>", // of others, to answer what they ask
				"$JS.API.STREAM.MSG.DELETE.*", "$JS.API.STREAM.PURGE.KV_{ns}-registry",
				"$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.MSG.NEXT.*.*", "$JS.ACK.>",
				"{ns}.*.ready.*.*", "{ns}.*.later.*.*", "{ns}.*.pin", "{ns}.*.once.*.*", "{ns}.*.cron.*", "{ns}.*.spent",
				"{ns}.event.*.*.*", "{ns}.dead.*.*.*", "{ns}.control.>", "{ns}.workflow.>", "{ns}.state.*.*", "{ns}.state.*.*.>", "$JS.API.STREAM.PURGE.{ns}-state", // pipelines
				"{ns}.stats.node.*", "{ns}.stats.1m", "{ns}.stats.10m", "{ns}.stats.1h",
				"$KV.{ns}-registry.node.*", "$KV.{ns}-registry.grant.*.*", "$KV.{ns}-registry.rate.*.*",
				"$KV.{ns}-registry.cancel.>", "$KV.{ns}-registry.cron.*", "$KV.{ns}-registry.reserve.*",
				"$KV.{ns}-registry.workflow.*", "$KV.{ns}-registry.own.*.*", "$KV.{ns}-registry.want.*.*", "$KV.{ns}-registry.pipe.*",
			}),
			DenyPublish: []string{
				"$KV.{ns}-registry.grant.*._limit", "$KV.{ns}-registry.rate.*._limit",
				"$JS.API.STREAM.MSG.DELETE.KV_{ns}-registry", "$JS.API.STREAM.MSG.DELETE.{ns}-dead", "$JS.API.STREAM.MSG.DELETE.{ns}-stats",
			},
			Subscribe: append(hearing(), "{ns}.control.>", "{ns}.*.ready.>"),
		}
	case Operator:
		return Permissions{Publish: slices.Concat(reading(), looking(), changing()), DenyPublish: []string{"$JS.API.STREAM.MSG.DELETE.KV_{ns}-registry"}, Subscribe: hearing()}
	case Admin:
		return Permissions{
			Publish: slices.Concat(reading(), looking(), []string{
				"$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.STREAM.DELETE.*", "$JS.API.STREAM.PURGE.*",
				"$JS.API.STREAM.MSG.DELETE.*", "$JS.API.STREAM.SNAPSHOT.*", "$JS.API.STREAM.RESTORE.*.*",
				"$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.DELETE.*.*",
				"{ns}.>", "$KV.{ns}-registry.>",
			}),
			Subscribe: hearing(),
		}
	}
	return Permissions{}
}

// reading is what everybody needs who asks for jobs.
func reading() []string {
	return []string{
		"$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.>", "$JS.API.CONSUMER.INFO.*.*",
	}
}

// looking is what the reading commands need besides.
func looking() []string {
	return []string{
		"$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.LIST.*", "$JS.API.CONSUMER.NAMES.*",
		"{ns}.control.running",
		"$JS.API.CONSUMER.CREATE.{ns}-events.*", "$JS.API.CONSUMER.CREATE.{ns}-events.*.>", // watch
		"$JS.API.CONSUMER.MSG.NEXT.{ns}-events.*", "$JS.API.CONSUMER.DELETE.{ns}-events.*",
	}
}

// changing is what it takes to do something to jobs, queues and workers.
func changing() []string {
	return []string{
		"{ns}.*.ready.*.*", "{ns}.*.later.*.*", "{ns}.*.once.*.*", "{ns}.event.*.*.*", "{ns}.control.>", "{ns}.stats.audit.*",
		"$JS.API.STREAM.MSG.DELETE.*",
		"$KV.{ns}-registry.pause.>", "$KV.{ns}-registry.cancel.>", "$KV.{ns}-registry.order.*", "$KV.{ns}-registry.cron.*",
		"$KV.{ns}-registry.bulk.*",
		"{ns}.workflow.>", "$KV.{ns}-registry.workflow.*", "$JS.API.STREAM.CREATE.{ns}-workflows",
		"$JS.API.STREAM.CREATE.KV_{ns}-registry", "$JS.API.STREAM.CREATE.{ns}-stats", // where there are none yet
	}
}

// hearing is what is told without being asked for.
func hearing() []string {
	return []string{inbox, "{ns}.event.>", "{ns}.control.progress.>", "{ns}.stats.node.*"}
}
