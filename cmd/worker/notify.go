package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/configfile"
)

func registerNotify(fs *pflag.FlagSet, n *configfile.Notify) {
	fs.StringVar(&n.URL, "web-notify", "", "`URL` that gets a POST when a problem begins and when it ends; env:NAME has it from the environment")
	fs.StringVar(&n.Min, "web-notify-min", "error", "`LEVEL` from which on it is told of problems: error, warning or notice")
}

func checkNotify(n *configfile.Notify) error {
	resolved, err := resolveNotify(n)
	if err == nil {
		err = configfile.RuleOf(resolved.Check())
	}
	return err
}

// resolveNotify returns n with the URL, if that is in the environment.
func resolveNotify(n *configfile.Notify) (millhand.Notify, error) {
	resolved := millhand.Notify{URL: n.URL, Min: n.Min}
	if variable, ok := strings.CutPrefix(n.URL, envPrefix); ok {
		if resolved.URL = os.Getenv(variable); resolved.URL == "" {
			return resolved, fmt.Errorf("the environment has no %s", variable)
		}
	}
	return resolved, nil
}

// addNotify takes the flags, which come over the file.
func (c *command) addNotify(n *configfile.Notify) error {
	if c.given("web-notify") {
		n.URL = c.notify.URL
	}
	if c.given("web-notify-min") {
		n.Min = c.notify.Min
	}
	if n.URL == "" && n.Min != "" {
		return cli.Usagef("web: notify: min %s: nobody is told; give the url, too, or --web-notify", n.Min)
	}
	err := checkNotify(n)
	if err == nil && n.URL != "" && c.stats == "off" {
		err = errors.New("needs statistics, which remember what was told: leave --stats off out")
	}
	if err != nil {
		return cli.Usagef("--web-notify: %w", err)
	}
	return nil
}

// problems is what a worker has to know of them.
func (c *config) problems(w *millhand.WorkerConfig) error {
	w.Objectives = make(map[string]time.Duration, len(c.Web.Objective))
	for queue, within := range c.Web.Objective {
		w.Objectives[queue] = time.Duration(within)
	}
	var err error
	if w.Notify, err = resolveNotify(&c.Web.Notify); err != nil {
		return cli.Usagef("web: notify: %w", err)
	}
	return nil
}
