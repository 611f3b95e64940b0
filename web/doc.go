// Package web is the dashboard: an [http.Handler] over a client, which shows what an operator has to know
// and does what an operator may.
//
//	h, err := web.New(client, web.Options{})
//	http.ListenAndServe("127.0.0.1:8080", h)
//
// Pages are made by html/template. They read and act without JavaScript; with it they are kept up to date
// by server-sent events. Nothing is asked of the broker while nobody looks, and all who look share what was
// asked. What a page shows is docs/dashboard.md.
//
//	web.go route.go visit.go    the handler, the table of what it answers to, a request
//	security.go user.go auth.go who may reach it, who may do what, who asks
//	redact.go visible.go        what of jobs is not shown, and which queues to whom
//	data.go                     one snapshot for all who look, and statistics
//	frame.go render.go live.go  what is around pages, drawing them, keeping them up to date
//	html.go                     the one file that makes HTML without a template
//	page_*.go op_*.go           a page, or operations, each with templates/*.html
//	static/                     style sheet, behaviour, and three vendored files: see static/vendored.txt
//
// # How a page is added
//
//  1. A row in the table of [Handler.routes]: method, path, permission, and the function. A route with a
//     page is kept up to date below /live by itself.
//  2. page_NAME.go has a function func(ctx, *visit) (*page, error): it takes v.look(ctx), which is a
//     snapshot without what the user may not see, and returns a page with a title, the entry of the
//     navigation that it belongs to, a template, and data for it. An error is shown: a [problem] as it
//     says, others as problemOf has it.
//  3. templates/NAME.html defines the template. In templates $ is the [drawing] and .D the data; another
//     template is called with {{template "name" $.With .X}}. What changes while somebody looks is drawn by
//     {{$.Part "id" "template" .X}}: it is sent anew when it differs. An id stands for one part of a page.
//     Tables have the class cards, and a data-label in each cell, for narrow screens; a style attribute is
//     refused by the content policy, so that widths are drawn as SVG ($.Bar, $.Spark).
//  4. An operation is a POST with a function func(ctx, *visit) (*notice, error): it checks what the form
//     says, acts, calls h.record for the audit, and returns what is to be said. The form has the field
//     back. What cannot be undone is confirmed in a <details class="act">, which needs no script.
//  5. pages_test.go (or NAME_test.go beside it) reads the page and does its operations over HTTP, and
//     test/browser has it in the list of pages that are drawn in each theme and width.
package web
