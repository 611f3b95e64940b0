// Package browser tests the dashboard in a real Chromium, against a broker and workers of its own. It is a
// module by itself, so that nothing that drives browsers is a dependency of Millhand.
//
//	cluster_test.go   a namespace with something of everything in it
//	chrome_test.go    the browser, and what it must never say
//	*_test.go         what a person sees and does
package browser
