// Command wordcount prints the ten most frequent words of files, with package flow: up to four files are read at a
// time, and each word is counted in one place.
//
//	go run ./examples/wordcount             the Go files of the toolchain's net/http
//	go run ./examples/wordcount *.md        these files
package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millhand/millhand/flow"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wordcount:", err)
		os.Exit(1)
	}
}

// run counts the words of files and prints the most frequent ones.
func run(ctx context.Context, out io.Writer, files []string) error {
	if len(files) == 0 {
		var err error
		if files, err = goFiles(ctx); err != nil {
			return err
		}
	}
	lines := flow.FlatTry(flow.From(slices.Values(files)).Stages(4), read)
	words := flow.FlatMap(lines, strings.FieldsSeq)
	counts := flow.CountBy(flow.By(words, strings.ToLower))
	top := flow.Top(counts, 10, func(a, b flow.Group[string, int]) int { return cmp.Compare(a.Value, b.Value) })
	for best, err := range top.All(ctx) {
		if err != nil {
			return err
		}
		for _, w := range best {
			if _, err := fmt.Fprintln(out, w.Value, w.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// read yields the lines of a file. The flow asks for them as it counts, so a file of any size is read in the same memory.
func read(_ context.Context, name string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		f, err := os.Open(name)
		if err != nil {
			yield("", err)
			return
		}
		defer func() { _ = f.Close() }() // it was only read
		s := bufio.NewScanner(f)
		for s.Scan() {
			if !yield(s.Text(), nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield("", err)
		}
	}
}

// goFiles are files that everybody has who can run this.
func goFiles(ctx context.Context) ([]string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	return filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", "net", "http", "*.go"))
}
