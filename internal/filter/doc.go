// Package filter is the language in which people say which jobs they mean:
//
//	state:dead type:email,sms error:"connection refused" age:<24h -meta.customer:42
//
// Terms are joined by and. A comma inside a term is or, a - before it negates it. It is pure: what a
// filter costs to answer, and whether it matches, is decided here; reading jobs is up to others.
//
//	filter = { ["-"] term }
//	term   = [ key ":" ] value { "," value }
//	value  = word | "quoted" | prefix* | N | >N | >=N | <N | <=N | N..M | N.. | ..M
//
// A quoted value is taken as it is; in quotes \" and \\ stand for " and \. A shell takes < and > for
// itself, so the open ranges N.. and ..M are there for those who do not want to quote a whole term.
package filter
