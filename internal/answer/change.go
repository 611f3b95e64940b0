package answer

// A Change is that of a limit that was set.
type Change struct {
	Pool   string `json:"pool"`
	Limit  int    `json:"limit"`
	Per    string `json:"per,omitempty"`
	Was    int    `json:"was"`
	WasPer string `json:"was_per,omitempty"`
	Used   int    `json:"used"`
	DryRun bool   `json:"dry_run,omitempty"`
}
