package access

import (
	"fmt"
	"strings"
)

// Config returns the roles as a configuration of nats-server for a namespace: an account with a user of
// each role.
func Config(namespace string) string {
	var b strings.Builder
	for _, r := range Roles() {
		p := Of(r, namespace, string(r))
		fmt.Fprintf(&b, "role_%s {\n  publish {\n", r)
		writeList(&b, "    allow", p.Publish)
		if len(p.DenyPublish) > 0 {
			writeList(&b, "    deny", p.DenyPublish)
		}
		b.WriteString("  }\n")
		writeList(&b, "  subscribe", p.Subscribe)
		b.WriteString("}\n")
	}
	fmt.Fprintf(&b, "accounts {\n  %s {\n    jetstream: enabled\n    users: [\n", strings.ToUpper(namespace))
	for _, r := range Roles() {
		fmt.Fprintf(&b, "      { user: %s, password: change-me-%s, permissions: $role_%s }\n", r, r, r)
	}
	b.WriteString("    ]\n  }\n}\n")
	return b.String()
}

// maxColumn is how wide a configuration is.
const maxColumn = 100

func writeList(b *strings.Builder, name string, subjects []string) {
	line := name + ": ["
	indent := strings.Repeat(" ", len(name)-len(strings.TrimLeft(name, " "))+2)
	for i, s := range subjects {
		word := fmt.Sprintf("%q", s)
		if i < len(subjects)-1 {
			word += ","
		}
		if len(line)+1+len(word) > maxColumn {
			b.WriteString(line + "\n")
			line = indent + word
			continue
		}
		if !strings.HasSuffix(line, "[") {
			word = " " + word
		}
		line += word
	}
	b.WriteString(line + "]\n")
}
