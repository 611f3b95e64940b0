package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/configfile"
)

// queueConfig is a weight, or a mapping of weight, concurrency, quota and rate.
type queueConfig struct {
	Weight      configfile.Count  `yaml:"weight"`
	Concurrency *configfile.Count `yaml:"concurrency"` // of this worker; nil: no limit of its own
	Quota       limitConfig       `yaml:"quota"`
	Rate        limitConfig       `yaml:"rate"`
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (q *queueConfig) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		if q.Weight.UnmarshalYAML(node) != nil {
			return configfile.At(node, fmt.Errorf("%s: want a whole number such as 100; else a mapping is expected", configfile.Shown(node)))
		}
		return nil
	}
	type plain queueConfig // without this method
	q.Weight = 1
	return node.Load((*plain)(q), yaml.WithKnownFields(), yaml.WithUniqueKeys(false))
}

// limitConfig is a limit as a file has it: a number, a rate such as 100/1m, or a mapping
// of key and limit.
type limitConfig struct {
	limitValue
	key string
	set bool // it is in the file
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (l *limitConfig) UnmarshalYAML(node *yaml.Node) error {
	l.set = true
	if node.Kind != yaml.MappingNode {
		return l.limitValue.UnmarshalYAML(node)
	}
	var m struct {
		Key   string      `yaml:"key"`
		Limit *limitValue `yaml:"limit"`
	}
	if err := node.Load(&m, yaml.WithKnownFields(), yaml.WithUniqueKeys(false)); err != nil {
		return err
	}
	l.key = m.Key
	switch {
	case l.key == "":
		return configfile.At(node, errors.New("no key: a limit that types do not share is written without a mapping"))
	case m.Limit == nil: // which is not to remove the limit that all workers share
		return configfile.At(node, fmt.Errorf("key %s: no limit: want {key: %s, limit: N}, the same at each type, or limit: 0 to remove it", l.key, l.key))
	}
	l.limitValue = *m.Limit
	return nil
}

// limitValue is a number, or a number of starts in a period.
type limitValue struct {
	limit int
	per   time.Duration
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (v *limitValue) UnmarshalYAML(node *yaml.Node) (err error) {
	if node.Kind != yaml.ScalarNode {
		return configfile.At(node, fmt.Errorf("%s is no limit: want a number, or N/DURATION", configfile.Shown(node)))
	}
	if v.limit, v.per, err = cli.ParseLimit(node.Value); err != nil {
		return configfile.At(node, err)
	}
	return nil
}

// addLimits takes --quota and --rate flags, which come over the file's.
func (c *config) addLimits(quotas, rates []string) error {
	quotaOf, rateOf := make(map[string]bool), make(map[string]bool)
	for _, f := range quotas {
		q, err := parseFlag(f)
		if err == nil && q.Per != 0 {
			err = errors.New("a number of starts in a period is a --rate")
		}
		err = cmp.Or(err, once(quotaOf, q.Type))
		if err != nil {
			return cli.Usagef("--quota %q: %w; want TYPE=N", f, err)
		}
		c.flags = append(c.flags, q)
	}
	for _, f := range rates {
		q, err := parseFlag(f)
		if err == nil && q.Per == 0 && q.Limit != 0 {
			err = errors.New("no period")
		}
		err = cmp.Or(err, once(rateOf, q.Type))
		if err != nil {
			return cli.Usagef("--rate %q: %w; want TYPE=N/DURATION such as email=100/1m", f, err)
		}
		q.Per = cmp.Or(q.Per, time.Second) // a removal needs none
		c.flags = append(c.flags, q)
	}
	return nil
}

// once returns an error if a flag has named typ before.
func once(named map[string]bool, typ string) error {
	if named[typ] {
		return fmt.Errorf("type %s is given twice", typ)
	}
	named[typ] = true
	return nil
}

func parseFlag(text string) (millhand.Quota, error) {
	typ, limit, ok := strings.Cut(text, "=")
	if !ok {
		return millhand.Quota{}, errors.New("no =")
	}
	if err := checkName(typ); err != nil {
		return millhand.Quota{}, fmt.Errorf("type %q: %w", typ, err)
	}
	n, per, err := cli.ParseLimit(limit)
	return millhand.Quota{Type: typ, Limit: n, Per: per}, err
}

// quotas returns what the file and the flags say of limits; a flag comes over the file.
func (c *config) quotas() ([]millhand.Quota, error) {
	l := limits{keys: make(map[string]*millhand.Quota)}
	for _, name := range slices.Sorted(maps.Keys(c.Types)) {
		t := c.Types[name]
		if t.Quota.key != "" && t.Rate.key != "" && t.Quota.key != t.Rate.key {
			return nil, fmt.Errorf("type %s: quota and rate have different keys, and a type has one", name)
		}
		if err := l.add(millhand.Quota{Type: name}, t.Quota, t.Rate); err != nil {
			return nil, fmt.Errorf("type %s: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Queues)) {
		q := c.Queues[name]
		if q.Quota.key != "" || q.Rate.key != "" {
			return nil, fmt.Errorf("queue %s: only types share a key", name)
		}
		if err := l.add(millhand.Quota{Queue: name}, q.Quota, q.Rate); err != nil {
			return nil, fmt.Errorf("queue %s: %w", name, err)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(l.keys)) {
		l.all = append(l.all, *l.keys[k])
	}
	file := slices.DeleteFunc(l.all, func(q millhand.Quota) bool {
		return slices.ContainsFunc(c.flags, func(f millhand.Quota) bool {
			return f.Type == q.Type && q.Type != "" && (f.Per > 0) == (q.Per > 0)
		})
	})
	return append(file, c.flags...), nil
}

// limits gathers what the file says; types with the same key share one limit.
type limits struct {
	all  []millhand.Quota
	keys map[string]*millhand.Quota
}

func (l *limits) add(of millhand.Quota, quota, rate limitConfig) error {
	if quota.per != 0 {
		return errors.New("quota: a number of starts in a period is a rate")
	}
	if rate.set && rate.per == 0 {
		return errors.New("rate: want N/DURATION such as 100/1m")
	}
	for _, c := range []limitConfig{quota, rate} {
		if !c.set {
			continue
		}
		if c.key == "" {
			of.Limit, of.Per = c.limit, c.per
			l.all = append(l.all, of)
			continue
		}
		name := fmt.Sprintf("%s %t", c.key, c.per > 0)
		k, ok := l.keys[name]
		if !ok {
			k = &millhand.Quota{Key: c.key, Limit: c.limit, Per: c.per}
			l.keys[name] = k
		}
		if k.Limit != c.limit || k.Per != c.per {
			return fmt.Errorf("key %s: it has another limit at type %s", c.key, k.Types[0])
		}
		k.Types = append(k.Types, of.Type)
	}
	return nil
}
