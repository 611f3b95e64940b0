package web

// A Route is a row of the table, for tests.
type Route struct {
	Method, Path string
	May          Permission
	Page, Do     bool
	Fields       []string
}

// Routes are the table of all there is.
func (h *Handler) Routes() (all []Route) {
	for _, r := range h.routes() {
		all = append(all, Route{r.method, r.path, r.may, r.page != nil, r.do != nil, r.fields})
	}
	return all
}
