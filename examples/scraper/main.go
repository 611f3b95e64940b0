// Command scraper fetches web pages through stages: a producer of pages, two filters that drop what is offline, and a
// consumer supervisor with one supervised child a page. It is the scraper of "Concurrent Data Processing in Elixir", with
// the bound on fetches that its last topology leaves out.
//
//	pages ──► filter 1 ──┐
//	      ──► filter 2 ──┴─► fetcher ──► one child a page, at most 2 for each filter
//
// It scrapes a server of its own on the loopback interface, whose pages are fast, slow, missing or broken. It prints the
// demand as it moves. It makes each stage crash once, and the supervisor restarts the stage. A page that a crashing filter
// has in hand is lost, because stages live in memory. Use a queue for jobs that must not be lost.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run scrapes all pages of the site and prints what became of them.
func run(ctx context.Context, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	site, err := listen(ctx)
	if err != nil {
		return err
	}
	pages := site.paths()
	log := newJournal(out, len(pages), stop)
	log.arm("pages", "filter 1", "filter 2", "fetcher")
	s, err := newScraper(site.url, log)
	if err != nil {
		return err
	}
	tree, err := s.tree(site, pages)
	if err != nil {
		return err
	}
	if err := tree.Run(ctx); err != nil {
		return err
	}
	log.summary()
	return nil
}
