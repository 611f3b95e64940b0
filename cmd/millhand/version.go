package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:                   "version",
		Short:                 "Print the version, and what it was built from",
		Example:               "  millhand version\n  millhand version -o json",
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.check(nil); err != nil {
				return err
			}
			if a.output == formatJSON {
				return a.json(map[string]string{"version": cmd.Root().Version})
			}
			_, err := fmt.Fprintf(a.out, "millhand %s\n", cmd.Root().Version)
			return err
		},
	}
}
