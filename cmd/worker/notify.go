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
)

// notifyConfig says who is told of problems, in the file and by flags.
type notifyConfig struct {
	URL string `yaml:"url"`
	Min string `yaml:"min"`
}

func (n *notifyConfig) register(fs *pflag.FlagSet) {
	fs.StringVar(&n.URL, "web-notify", "", "`URL` that gets a POST when a problem begins and when it ends; env:NAME has it from the environment")
	fs.StringVar(&n.Min, "web-notify-min", "error", "`LEVEL` from which on it is told of problems: error, warning or notice")
}

func (n *notifyConfig) check() error {
	resolved, err := n.resolve()
	if err == nil {
		err = ruleOf(resolved.Check())
	}
	return err
}

// resolve returns n with the URL, if that is in the environment.
func (n *notifyConfig) resolve() (millhand.Notify, error) {
	resolved := millhand.Notify{URL: n.URL, Min: n.Min}
	if variable, ok := strings.CutPrefix(n.URL, envPrefix); ok {
		if resolved.URL = os.Getenv(variable); resolved.URL == "" {
			return resolved, fmt.Errorf("the environment has no %s", variable)
		}
	}
	return resolved, nil
}

// addNotify takes the flags, which come over the file.
func (c *command) addNotify(n *notifyConfig) error {
	if c.given("web-notify") {
		n.URL = c.notify.URL
	}
	if c.given("web-notify-min") {
		n.Min = c.notify.Min
	}
	if n.URL == "" && n.Min != "" {
		return cli.Usagef("web: notify: min %s: nobody is told; give the url, too, or --web-notify", n.Min)
	}
	err := n.check()
	if err == nil && n.URL != "" && c.stats == "off" {
		err = errors.New("needs statistics, which remember what was told: leave --stats off out")
	}
	if err != nil {
		return cli.Usagef("--web-notify: %w", err)
	}
	return nil
}

// problems is what a worker has to know of them.
func (d *dashboardConfig) problems(w *millhand.WorkerConfig) error {
	w.Objectives = make(map[string]time.Duration, len(d.Objective))
	for queue, within := range d.Objective {
		w.Objectives[queue] = time.Duration(within)
	}
	var err error
	if w.Notify, err = d.Notify.resolve(); err != nil {
		return cli.Usagef("web: notify: %w", err)
	}
	return nil
}
