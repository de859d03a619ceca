package page

import (
	"net/http"
	"net/url"
	"strconv"

	"podgate/internal/text"
)

// Rows is how many rows a list shows at once.
const Rows = 50

// Part says which part of a list a page shows, and where its neighbours are.
type Part struct {
	From, To, All int    // counted from 1; all 0 for an empty list
	Before, After string // addresses; empty: there is nothing
}

// maxKept bounds what of a field of the address the neighbours' addresses repeat.
const maxKept = 200

// Cut returns the rows that the address asks for by «page», and what is around
// them. A page that is not there is the nearest that is. The fields in kept
// belong to the list, such as a search.
func Cut[T any](r *http.Request, list []T, kept ...string) ([]T, Part) {
	return CutBy(r, "page", "", list, kept...)
}

// CutBy is Cut for a page with several lists, each in a section: the field of the
// address says which part of this one is shown.
func CutBy[T any](r *http.Request, field, section string, list []T, kept ...string) ([]T, Part) {
	q := r.URL.Query()
	last := max(0, (len(list)-1)/Rows)
	n, err := strconv.Atoi(q.Get(field))
	if err != nil {
		n = 1
	}
	n = min(max(n-1, 0), last)
	from, to := n*Rows, min(len(list), (n+1)*Rows)
	p := Part{From: min(from+1, to), To: to, All: len(list)}
	if n > 0 {
		p.Before = address(r, field, n, kept) + section
	}
	if n < last {
		p.After = address(r, field, n+2, kept) + section
	}
	return list[from:to], p
}

func address(r *http.Request, field string, n int, kept []string) string {
	q, to := r.URL.Query(), url.Values{}
	for _, name := range kept {
		if v := q.Get(name); v != "" {
			to.Set(name, text.Cut(v, maxKept))
		}
	}
	if n > 1 {
		to.Set(field, strconv.Itoa(n))
	}
	if len(to) == 0 {
		return r.URL.Path
	}
	return r.URL.Path + "?" + to.Encode()
}
