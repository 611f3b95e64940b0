package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/configfile"
)

// cronConfig is an entry of a schedule.
type cronConfig struct {
	Schedule    string               `yaml:"schedule"`
	Zone        string               `yaml:"zone"`
	Type        string               `yaml:"type"`
	Payload     payload              `yaml:"payload"`
	Queue       string               `yaml:"queue"`
	MaxAttempts *configfile.Count    `yaml:"max_attempts"`
	Timeout     *configfile.Duration `yaml:"timeout"`
	Expires     *configfile.Duration `yaml:"expires"`
	Meta        map[string]string    `yaml:"meta"`
	Overlap     string               `yaml:"overlap"`
	CatchUp     string               `yaml:"catch_up"`
	Grace       *configfile.Duration `yaml:"grace"`
	Remove      bool                 `yaml:"remove"` // the entry, which an earlier file had
}

// entry is c as the package has it.
func (c cronConfig) entry(name string) millhand.Cron {
	e := millhand.Cron{
		Name: name, Schedule: c.Schedule, Zone: c.Zone, Args: millhand.Raw{Name: c.Type, Payload: c.Payload},
		Overlap: millhand.Overlap(c.Overlap), CatchUp: millhand.CatchUp(c.CatchUp), Grace: time.Duration(valueOr(c.Grace, 0)),
	}
	if c.Queue != "" {
		e.Options = append(e.Options, millhand.WithQueue(c.Queue))
	}
	if c.MaxAttempts != nil {
		e.Options = append(e.Options, millhand.WithMaxAttempts(int(*c.MaxAttempts)))
	}
	if c.Timeout != nil {
		e.Options = append(e.Options, millhand.WithTimeout(time.Duration(*c.Timeout)))
	}
	if c.Expires != nil {
		e.Options = append(e.Options, millhand.WithExpires(time.Duration(*c.Expires)))
	}
	for _, key := range slices.Sorted(maps.Keys(c.Meta)) {
		e.Options = append(e.Options, millhand.WithMeta(key, c.Meta[key]))
	}
	return e
}

// check names what is at fault.
func (c cronConfig) check(name string) error {
	switch {
	case c.Remove && !reflect.DeepEqual(c, cronConfig{Remove: true}):
		return errors.New("remove: an entry that is removed has nothing else")
	case c.Remove:
		return nil
	case c.Schedule == "":
		return errors.New(`schedule: missing, such as "30 2 * * *" or "@every 90s"`)
	case c.Type == "":
		return errors.New("type: missing, that of its jobs")
	case c.Grace != nil && *c.Grace <= 0:
		return fmt.Errorf("grace: %v must be more than 0; leave it out for 1m", time.Duration(*c.Grace))
	}
	err := c.entry(name).Check()
	if e, ok := errors.AsType[*millhand.InvalidError](err); ok {
		return errors.New(strings.Replace(cli.Text(e), "max attempts", "max_attempts", 1))
	}
	return err
}

// crons returns the entries to be put, and the names of those to be removed.
func (c *config) crons() (put []millhand.Cron, removed []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Cron)) {
		if e := c.Cron[name]; e.Remove {
			removed = append(removed, name)
		} else {
			put = append(put, e.entry(name))
		}
	}
	return put, removed
}

// payload is a value of the file as JSON.
type payload []byte

// UnmarshalYAML implements yaml.Unmarshaler.
func (p *payload) UnmarshalYAML(n *yaml.Node) error {
	b, err := appendJSON(nil, n)
	*p = b
	return err
}

// appendJSON appends a value as JSON. Nothing is rounded, and no text is taken for a time.
func appendJSON(b []byte, n *yaml.Node) ([]byte, error) {
	n = configfile.Target(n)
	var err error
	switch n.Kind {
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, item := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, item); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.ShortTag() == "!!merge" {
				return nil, configfile.At(key, errors.New("<< is not supported in a payload: write its keys out"))
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJSONText(b, key.Value), ':')
			if b, err = appendJSON(b, n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case yaml.ScalarNode:
		return appendJSONScalar(b, n)
	case yaml.AliasNode, yaml.DocumentNode, yaml.StreamNode: // not within a document, or resolved
	}
	return b, nil
}

func appendJSONScalar(b []byte, n *yaml.Node) ([]byte, error) {
	switch n.ShortTag() {
	case "!!null":
		return append(b, "null"...), nil
	case "!!bool":
		v, err := strconv.ParseBool(n.Value)
		if err != nil {
			return nil, configfile.At(n, fmt.Errorf("%q: want true or false", n.Value))
		}
		return strconv.AppendBool(b, v), nil
	case "!!int", "!!float":
		if !json.Valid([]byte(n.Value)) {
			return nil, configfile.At(n, fmt.Errorf("%s: want a number as JSON has it, such as 1.5, or quotes around a text", n.Value))
		}
		return append(b, n.Value...), nil
	}
	return appendJSONText(b, n.Value), nil
}

func appendJSONText(b []byte, text string) []byte {
	var buf strings.Builder
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a text always encodes
	return append(b, strings.TrimSuffix(buf.String(), "\n")...)
}
