// Package transfer is where files come and go without an access token: to and from
// links, each of which is good for one file of one pod, once, for a quarter of an
// hour. A program such as curl sends to one with PUT and fetches from one with GET.
//
// The secret in the path is all that it takes, so it is never logged or told on, and
// no cookie matters. What comes out of a pod is never shown by a browser: it is a
// download of no type, in a sandbox of its own. Package pods decides what a link may
// do at each use.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
)

// Routes returns the routes over the links of a service.
func Routes(s *pods.Service) []web.Route {
	h := handlers{s}
	route := func(method, path string, handler web.Handler) web.Route {
		return web.Route{Method: method, Path: path + ":secret", Handler: private(handler), Errors: web.WriteJSONError}
	}
	return []web.Route{
		route(http.MethodPut, web.UploadPath, h.put),
		route(http.MethodHead, web.UploadPath, h.offset),
		route(http.MethodGet, web.DownloadPath, h.get),
		route(http.MethodHead, web.DownloadPath, refuseHead),
	}
}

type handlers struct{ pods *pods.Service }

// private keeps the answer and the address to the two of them.
func private(next web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Robots-Tag", "noindex")
		return public(next(w, r))
	}
}

func secretOf(r *http.Request) string {
	return httprouter.ParamsFromContext(r.Context()).ByName("secret")
}

// progress answers to a part of an upload.
type progress struct {
	Done    bool   `json:"done"`
	Path    string `json:"path"`
	Offset  int64  `json:"offset"` // bytes that have come
	Entries int    `json:"entries,omitempty"`
	Skipped int    `json:"skipped,omitempty"`
}

// put takes a file, or a part of one that says so with Content-Range.
func (h handlers) put(w http.ResponseWriter, r *http.Request) error {
	part, err := partOf(r)
	if err != nil {
		return err
	}
	// The bound on the bodies of small requests is not for this one; pauses are
	// bounded elsewhere.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(pods.MaxLinkUse))
	ctx, cancel := context.WithTimeout(r.Context(), pods.MaxLinkUse)
	defer cancel()
	got, err := h.pods.Receive(ctx, secretOf(r), part)
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if got.Done {
		status = http.StatusCreated
	}
	w.Header().Set("Upload-Offset", strconv.FormatInt(got.Received, 10))
	web.WriteJSON(w, status, progress{got.Done, got.Path, got.Received, got.Entries, got.Skipped})
	return nil
}

// offset says how much has come.
func (h handlers) offset(w http.ResponseWriter, r *http.Request) error {
	got, err := h.pods.UploadOffset(r.Context(), secretOf(r))
	if err != nil {
		return err
	}
	w.Header().Set("Upload-Offset", strconv.FormatInt(got.Received, 10))
	w.WriteHeader(http.StatusOK)
	return nil
}

// partOf reads which part of the file a request has.
func partOf(r *http.Request) (pods.Part, error) {
	part := pods.Part{Size: r.ContentLength, Total: r.ContentLength, Body: r.Body}
	if r.Header.Get("Content-Encoding") != "" {
		return part, web.Fault(http.StatusUnsupportedMediaType, "unsupported_encoding", "Send the file as it is, without Content-Encoding.", nil)
	}
	ranges := r.Header.Values("Content-Range")
	if len(ranges) == 0 {
		return part, nil
	}
	first, last, total, ok := contentRange(ranges[0])
	if !ok || len(ranges) > 1 || part.Size >= 0 && part.Size != last-first+1 {
		return part, web.Fault(http.StatusBadRequest, "invalid_range", "Content-Range must be of the form «bytes 1000-4999/5000», with the length of the body.", nil)
	}
	part.Offset, part.Size, part.Total = first, last-first+1, total
	part.Body = io.LimitReader(r.Body, part.Size)
	return part, nil
}

// contentRange reads «bytes FIRST-LAST/TOTAL» (RFC 9110 section 14.4).
func contentRange(s string) (first, last, total int64, ok bool) {
	rest, unit := strings.CutPrefix(s, "bytes ")
	span, all, slash := strings.Cut(rest, "/")
	from, to, dash := strings.Cut(span, "-")
	if !unit || !slash || !dash {
		return 0, 0, 0, false
	}
	ok = number(from, &first) && number(to, &last) && number(all, &total) && first <= last && last < total
	return first, last, total, ok
}

// number reads a decimal number without a sign.
func number(s string, into *int64) bool {
	n, err := strconv.ParseUint(s, 10, 62)
	*into = int64(n)
	return err == nil
}

// refuseHead keeps a look from being the one use of a link.
func refuseHead(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Allow", "GET")
	return web.Fault(http.StatusMethodNotAllowed, "method_not_allowed", "Fetch it with GET; the link works once.", nil)
}

// get sends what a link is for. Of a file it may begin in the middle, so that what
// broke off goes on.
func (h handlers) get(w http.ResponseWriter, r *http.Request) error {
	offset, ok := rangeStart(r.Header.Values("Range"))
	if !ok {
		return web.Fault(http.StatusRequestedRangeNotSatisfiable, "invalid_range", "Only a range with an open end can be fetched, such as «bytes=1000-».", nil)
	}
	ctx, cancel := context.WithTimeout(r.Context(), pods.MaxLinkUse)
	defer cancel()
	begun := false
	err := h.pods.Send(ctx, secretOf(r), offset, func(_ context.Context, sent pods.Sent) (bool, error) {
		if sent.Folder && offset > 0 {
			return false, web.Fault(http.StatusRequestedRangeNotSatisfiable, "invalid_range", "A folder can only be fetched from its beginning.", nil)
		}
		begun = true
		return send(w, sent)
	})
	if err != nil && begun {
		panic(http.ErrAbortHandler) // nobody may take the part for the whole
	}
	return err
}

// send writes the answer and returns whether all of it was taken.
func send(w http.ResponseWriter, sent pods.Sent) (bool, error) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": sent.Name()}))
	status := http.StatusOK
	if sent.Length >= 0 {
		h.Set("Content-Length", strconv.FormatInt(sent.Length, 10))
		h.Set("Accept-Ranges", "bytes")
	}
	if sent.Offset > 0 {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", sent.Offset, sent.Size-1, sent.Size))
	}
	w.WriteHeader(status)
	n, err := io.Copy(w, sent)
	if err == nil && sent.Length >= 0 && n != sent.Length {
		err = io.ErrUnexpectedEOF
	}
	return err == nil, err
}

// rangeStart reads the one form of a range that is served: from somewhere to the
// end. None is from the beginning.
func rangeStart(ranges []string) (int64, bool) {
	if len(ranges) == 0 {
		return 0, true
	}
	from, unit := strings.CutPrefix(ranges[0], "bytes=")
	from, open := strings.CutSuffix(from, "-")
	var n int64
	ok := len(ranges) == 1 && unit && open && number(from, &n)
	return n, ok
}

// statuses are those of the words of package pods.
var statuses = []struct {
	word   error
	status int
	code   string
}{
	{pods.ErrNoLink, http.StatusNotFound, "not_found"},
	{pods.ErrNotFound, http.StatusNotFound, "not_found"},
	{pods.ErrNoFile, http.StatusNotFound, "not_found"},
	{pods.ErrLinkUsed, http.StatusGone, "used"},
	{pods.ErrOffset, http.StatusRequestedRangeNotSatisfiable, "wrong_offset"},
	{pods.ErrOverPlan, http.StatusRequestEntityTooLarge, "too_large"},
	{pods.ErrTooLarge, http.StatusRequestEntityTooLarge, "too_large"},
	{pods.ErrPath, http.StatusForbidden, "path_not_allowed"},
	{pods.ErrBadInput, http.StatusBadRequest, "bad_input"},
	{pods.ErrBusy, http.StatusConflict, "busy"},
	{pods.ErrNotRunning, http.StatusConflict, "not_running"},
	{pods.ErrInterrupted, http.StatusConflict, "interrupted"},
}

// public words an error for whoever has the link.
func public(err error) error {
	var denied *authz.Denied
	var known *web.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, authz.ErrRevoked), errors.As(err, &denied):
		return web.Fault(http.StatusForbidden, "revoked", "The connection for which this link was made may not do that any more.", err)
	}
	for _, s := range statuses {
		if errors.Is(err, s.word) && pods.IsPublic(err) {
			return web.Fault(s.status, s.code, err.Error(), err)
		}
	}
	if pods.IsPublic(err) {
		return web.Fault(http.StatusBadGateway, "failed", err.Error(), err)
	}
	return err
}
