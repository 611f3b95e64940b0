// Package console is the full-screen console of an operator: tabs with tables that are kept up to date, and
// operations that are asked about before they are done. It knows how screens are drawn and what keys do, and
// nothing of jobs: a [Source] says what is on a screen, in the words of the command, and does what is asked.
//
//	page.go            what a source gives and is asked for
//	model.go keys.go   the state, and what a message does to it: pure, its effects are values
//	ask.go             what is typed: filters, values and confirmations
//	view.go table.go   the state as lines of text
//	run.go             effects carried out on a terminal, by Bubble Tea
package console
