// Package cron decides about ticks: what a schedule says, when its ticks come in a zone whose
// clocks are put forward and back, which of them are to be published, and which come too late.
//
// It is pure: every function is given the time, and nothing here knows a broker. The five fields
// are read by robfig/cron's parser. When they come is not left to it, since it skips a day when
// the clocks go forward and runs twice when they go back.
package cron
