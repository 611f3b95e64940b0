package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// schemaFile is the contract. Programs of the scripts are told where it is, and where to say which parts they
// have met.
const (
	schemaFile = "../../docs/schemas/millhand.json"
	schemaVar  = "MILLHAND_TEST_SCHEMA"
	metVar     = "MILLHAND_TEST_MET"
)

// checkedMain is the command in scripts. What it prints as JSON has to be what the schema says, without a field
// more: what is not told there is no contract.
func checkedMain() {
	var printed bytes.Buffer
	out := io.Writer(os.Stdout)
	name := outputOf(os.Args[1:])
	if name != "" && os.Getenv(schemaVar) != "" {
		out = io.MultiWriter(os.Stdout, &printed)
	}
	code := run(os.Args[1:], os.Stdin, out, os.Stderr)
	check := checkOutput
	if command, isText := strings.CutPrefix(name, "text."); isText {
		name, check = command, func(command string, printed []byte) error { return checkShown(command, string(printed)) }
	}
	if err := check(name, printed.Bytes()); err != nil {
		fmt.Fprintf(os.Stderr, "what is printed is not as %s says: %v\n", schemaFile, err)
		code = 99
	}
	os.Exit(code)
}

// outputOf is what the schema calls the output of a call, or "text." and the command; empty if it is neither.
func outputOf(args []string) string {
	a := &app{streams: streams{out: io.Discard, err: io.Discard}, output: formatText, color: colorAuto}
	cmd, rest, err := newRoot(a).Find(flagOfTerm(args))
	if err != nil || cmd.ParseFlags(rest) != nil {
		return ""
	}
	name := strings.ReplaceAll(strings.TrimPrefix(cmd.CommandPath(), "millhand "), " ", "-")
	switch {
	case a.output == formatNDJSON, a.output == formatJSON && name == "watch":
		return "line." + name
	case a.output == formatJSON:
		return "command." + name
	case a.output == formatText:
		return "text." + name
	}
	return ""
}

func checkOutput(name string, printed []byte) error {
	if len(bytes.TrimSpace(printed)) == 0 {
		return nil
	}
	text, err := os.ReadFile(os.Getenv(schemaVar))
	if err != nil {
		return err
	}
	schema, err := strictSchema(text, name)
	if err != nil {
		return err
	}
	for dec := json.NewDecoder(bytes.NewReader(printed)); ; {
		var object any
		if err := dec.Decode(&object); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if err := schema.Validate(object); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	met, err := os.OpenFile(os.Getenv(metVar), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(met, name)
	return err
}

// strictSchema is a part of the contract, with nothing in its objects that it does not name.
func strictSchema(text []byte, name string) (*jsonschema.Resolved, error) {
	var all jsonschema.Schema
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	if all.Defs[name] == nil {
		return nil, fmt.Errorf("it has no $defs/%s", name)
	}
	for _, part := range all.Defs {
		strict(part)
	}
	return (&jsonschema.Schema{Ref: "#/$defs/" + name, Defs: all.Defs}).Resolve(nil)
}

func strict(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if s.Properties != nil && s.AdditionalProperties == nil {
		s.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
	}
	for _, part := range slices.Concat(slices.Collect(maps.Values(s.Properties)), s.AnyOf, []*jsonschema.Schema{s.Items}) {
		strict(part)
	}
}

// checkMet fails unless the scripts have met all that the schema has.
func checkMet(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var all jsonschema.Schema
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	met, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := strings.Fields(string(met))
	for name := range all.Defs {
		if strings.Contains(name, ".") && !slices.Contains(seen, name) {
			t.Errorf("no script prints %s, of which there is a schema", name)
		}
	}
}
