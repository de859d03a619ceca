package pods

import (
	"context"
	"net/url"
	"strconv"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
)

// ListQuery selects files below a folder.
type ListQuery struct {
	Path      string // empty: the app folder
	Recursive bool
	Glob      string // such as *.js or src/**/*.go; empty: all
	Cursor    string // of the answer that is gone on with
	Limit     int    // 0: as many as there may be
}

// SearchQuery says what is looked for in files.
type SearchQuery struct {
	ListQuery         // always recursive
	Query      string // one line of text, or a regular expression (RE2)
	Regex      bool
	IgnoreCase bool
}

// MaxQuery bounds what is searched for and a glob, in bytes.
const MaxQuery = wire.MaxQuery

// ListFiles lists a folder.
func (s *Service) ListFiles(ctx context.Context, a authz.Actor, name string, q ListQuery) (wire.Listing, error) {
	query, err := q.query(wire.MaxEntries)
	if err != nil {
		return wire.Listing{}, err
	}
	var listing wire.Listing
	err = s.readFiles(ctx, a, name, func(l *live) (err error) {
		listing, err = l.client.list(ctx, query)
		return err
	})
	return listing, err
}

// SearchFiles returns the lines of the files below a folder that have what is
// looked for.
func (s *Service) SearchFiles(ctx context.Context, a authz.Actor, name string, q SearchQuery) (wire.Found, error) {
	query, err := q.query(wire.MaxMatches)
	if err != nil {
		return wire.Found{}, err
	}
	if q.Query == "" || len(q.Query) > MaxQuery || !isText(q.Query) {
		return wire.Found{}, refuse(ErrBadInput, "query must be text of 1 to %d bytes", MaxQuery)
	}
	query.Del("recursive")
	query.Set("query", q.Query)
	flag(query, "regex", q.Regex)
	flag(query, "ignore_case", q.IgnoreCase)
	var found wire.Found
	err = s.readFiles(ctx, a, name, func(l *live) (err error) {
		found, err = l.client.search(ctx, query)
		return err
	})
	return found, err
}

// readFiles is call for what only reads files.
func (s *Service) readFiles(ctx context.Context, a authz.Actor, name string, do func(*live) error) error {
	if err := a.Allow(authz.ReadFiles, a.Team.ID); err != nil {
		return err
	}
	return s.call(ctx, a, authz.ReadFiles, name, func(_ store.Pod, l *live) error { return do(l) })
}

// query checks a query and puts it into the form of the protocol.
func (q ListQuery) query(most int) (url.Values, error) {
	if q.Path == "" {
		q.Path = "."
	}
	if err := checkPath(q.Path); err != nil {
		return nil, err
	}
	switch {
	case len(q.Glob) > MaxQuery || !isText(q.Glob):
		return nil, refuse(ErrBadInput, "glob must be text of at most %d bytes", MaxQuery)
	case q.Limit < 0 || q.Limit > most:
		return nil, refuse(ErrBadInput, "limit must be from 1 to %d", most)
	}
	if _, _, err := wire.ParseCursor(q.Cursor); err != nil {
		return nil, refuse(ErrBadInput, "%v; leave it out to begin anew", err)
	}
	query := url.Values{"path": {q.Path}}
	flag(query, "recursive", q.Recursive)
	for name, value := range map[string]string{"glob": q.Glob, "cursor": q.Cursor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	return query, nil
}

func flag(query url.Values, name string, set bool) {
	if set {
		query.Set(name, "1")
	}
}
