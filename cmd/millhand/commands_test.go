package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// all returns a command with all that are below it.
func all(cmd *cobra.Command) []*cobra.Command {
	found := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		found = append(found, all(c)...)
	}
	return found
}

func testRoot() *cobra.Command { return newRoot(&app{output: formatText, color: colorAuto}) }

// Whoever asks a command for help learns what it does, and sees a call of it, within 100 columns.
func TestEveryCommandExplainsItself(t *testing.T) {
	for _, cmd := range all(testRoot()) {
		if cmd.Name() == "help" {
			continue
		}
		text := help(cmd, maxHelp)
		for _, want := range []string{"Usage:\n  " + cmd.CommandPath(), "Examples:\n  "} {
			if !strings.Contains(text, want) {
				t.Errorf("help of %s has no %q:\n%s", cmd.CommandPath(), want, text)
			}
		}
		if !slices.ContainsFunc(examplesIn(cmd.Example), func(args []string) bool {
			return strings.HasPrefix(strings.Join(args, " ")+" ", strings.TrimPrefix(cmd.CommandPath(), "millhand ")+" ")
		}) && cmd.HasParent() {
			t.Errorf("no example of %s in its help: %q", cmd.CommandPath(), cmd.Example)
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > maxHelp+10 { // a long word of an example
				t.Errorf("help of %s has %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("--%s of %s is not explained", f.Name, cmd.CommandPath())
			}
		})
	}
}

// What the help and the documentation show can be typed.
func TestExamplesAreCalls(t *testing.T) {
	doc, err := os.ReadFile("../../docs/millhand.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"docs/millhand.md": string(doc)}
	for _, cmd := range all(testRoot()) {
		texts["the help of "+cmd.CommandPath()] = cmd.Example
	}
	for where, text := range texts {
		for _, args := range examplesIn(text) {
			root := testRoot()
			cmd, rest, err := root.Find(flagOfTerm(args))
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err == nil && cmd == root && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
				err = unknown(root, rest[0])
			}
			if err != nil {
				t.Errorf("in %s: millhand %s: %v", where, strings.Join(args, " "), err)
			}
		}
	}
}

// All commands are in the documentation.
func TestEveryCommandIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/millhand.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range all(testRoot()) {
		path := strings.TrimPrefix(cmd.CommandPath(), "millhand ")
		if !regexp.MustCompile("(?m)(^\\$ millhand |`|^#+ .*\\b)"+path+`\b`).Match(doc) && cmd.Name() != "help" {
			t.Errorf("%s is not in docs/millhand.md", cmd.CommandPath())
		}
	}
}

// examplesIn returns the arguments of all calls of millhand in lines of a shell: those that begin with
// it, in examples of help behind spaces and in the documentation behind a $.
func examplesIn(text string) [][]string {
	var calls [][]string
	for line := range strings.Lines(text) {
		indented, isHelp := strings.CutPrefix(line, "  ")
		prompt, isDoc := strings.CutPrefix(line, "$ ")
		switch {
		case isHelp:
			line = indented
		case isDoc:
			line = prompt
		default:
			continue
		}
		for _, words := range splitShell(line) {
			if at := slices.IndexFunc(words, func(w string) bool { return strings.TrimPrefix(w, "<(") == "millhand" }); at >= 0 {
				calls = append(calls, words[at+1:])
			}
		}
	}
	return calls
}

// splitShell splits a line into the words of the commands of a pipe, without redirections, and without
// what stands behind three spaces, which explains it.
func splitShell(line string) (commands [][]string) {
	var words []string
	word, quote, inWord := "", rune(0), false
	end := func() {
		if inWord {
			words = append(words, word)
		}
		word, inWord = "", false
	}
	line, _, _ = strings.Cut(strings.TrimSpace(line), "   ")
	line, _, _ = strings.Cut(line, " > ")
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ', r == ')':
			end()
		case r == '|':
			end()
			commands, words = append(commands, words), nil
		default:
			word, inWord = word+string(r), true
		}
	}
	end()
	return append(commands, words)
}
