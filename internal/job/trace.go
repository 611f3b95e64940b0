package job

// TraceID is the trace's id in a traceparent of W3C Trace Context, empty if that is none.
func TraceID(parent string) string {
	const from, to = len("00-"), len("00-") + 32
	if len(parent) > to && parent[from-1] == '-' && parent[to] == '-' {
		return parent[from:to]
	}
	return ""
}
