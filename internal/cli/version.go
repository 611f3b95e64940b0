package cli

import (
	"cmp"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is for those who build without a module's version:
//
//	go build -ldflags "-X github.com/millhand/millhand/internal/cli.version=v1.2.3" ./cmd/...
var version string

// commitShown is how much of a commit's name is shown.
const commitShown = 12

// AddVersion gives a command the flag --version, which prints the version, the commit and the
// Go that it was built from.
func AddVersion(cmd *cobra.Command) {
	info, _ := debug.ReadBuildInfo() // nil without one
	cmd.Version = versionOf(version, info)
	cmd.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	cmd.Flags().Bool("version", false, "print the version, and what it was built from")
}

// versionOf is what is known of a build, of which the linker was told that it is set.
func versionOf(set string, info *debug.BuildInfo) string {
	if info == nil {
		return cmp.Or(set, "unknown")
	}
	var commit, time, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = "commit " + s.Value[:min(commitShown, len(s.Value))]
		case "vcs.time":
			time = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = "with local changes"
			}
		}
	}
	var details []string
	for _, detail := range []string{commit, time, modified, info.GoVersion} {
		if detail != "" {
			details = append(details, detail)
		}
	}
	return cmp.Or(set, strings.Trim(info.Main.Version, "()"), "unknown") + " (" + strings.Join(details, ", ") + ")"
}
