package main

import (
	"time"

	"github.com/millhand/millhand/internal/answer"
)

// emptyText is when something is empty, for people.
func emptyText(e answer.EmptyIn) string {
	switch e.How {
	case answer.EmptyNow:
		return none
	case answer.EmptyAbout:
		return span(time.Duration(*e.Seconds) * time.Second)
	case answer.EmptyAtLeast:
		return "> " + span(time.Duration(*e.Seconds)*time.Second)
	case answer.EmptyNever:
		return answer.EmptyNever
	}
	return "?"
}
