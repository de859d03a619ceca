package podpages

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/pods/wire"
	"podgate/ui/page"
)

// Where files lie in every pod.
const (
	homeFolder = "/home/pod"
	appFolder  = "/home/pod/app"
)

// Bounds of what is shown and edited.
const (
	maxShown = 256 << 10 // bytes of a text
	maxImage = 20 << 20  // bytes of a picture in a page
)

func (s *Pages) fileRoutes() []web.Route {
	return []web.Route{
		s.Get("/pod/:name/files", s.onPod(s.serveFiles)),
		s.Get("/pod/:name/files/view", s.onPod(s.serveFile)),
		s.Get("/pod/:name/files/raw", s.onPod(s.serveRaw)),
		s.Get("/pod/:name/files/download", s.onPod(s.serveFileDownload)),
		s.Get("/pod/:name/files/edit", s.onPod(s.serveEdit)),
		s.postLarge("/pod/:name/files/edit", maxTextForm, s.onPod(s.handleEdit)),
		s.Post("/pod/:name/files/new", s.onPod(s.handleNew)),
		s.postStream("/pod/:name/files/upload", s.onPod(s.handleFileUpload)),
		s.Get("/pod/:name/files/move", s.onPod(s.serveMove)),
		s.Post("/pod/:name/files/move", s.onPod(s.handleMove)),
		s.Get("/pod/:name/files/delete", s.onPod(s.serveDeleteFile)),
		s.Post("/pod/:name/files/delete", s.onPod(s.handleDeleteFile)),
	}
}

// fileAddress is the address of something about a path of the pod. The path is in the
// query, since names hold whatever they like.
func fileAddress(o opened, below, filePath string, more ...string) string {
	q := url.Values{"path": {filePath}}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] != "" {
			q.Set(more[i], more[i+1])
		}
	}
	return "/pod/" + o.Name + "/files" + below + "?" + q.Encode()
}

// pathAsked is the path that a request is about; the app's folder when there is none.
func pathAsked(r *http.Request) string {
	asked := cmp.Or(r.URL.Query().Get("path"), appFolder)
	if !strings.HasPrefix(asked, "/") {
		asked = appFolder + "/" + asked
	}
	return path.Clean(asked)
}

// A crumb is one folder on the way to a path.
type crumb struct {
	Spans []span
	Href  string
}

// crumbsOf are the folders on the way to a path, each with its address.
func crumbsOf(o opened, filePath string) []crumb {
	base := homeFolder
	if filePath != base && !strings.HasPrefix(filePath, base+"/") {
		base = "/tmp"
	}
	all := []crumb{{[]span{{Text: base}}, fileAddress(o, "", base)}}
	rest, inside := strings.CutPrefix(filePath, base+"/")
	if !inside {
		return all
	}
	at := base
	for part := range strings.SplitSeq(rest, "/") {
		at += "/" + part
		all = append(all, crumb{namedSpans(part), fileAddress(o, "", at)})
	}
	return all
}

// filesPage is the content of files.html.
type filesPage struct {
	Head    podHead
	Path    string
	Crumbs  []crumb // the last is the folder itself
	Entries []fileRow
	Part    page.Part
	Further string // address of what follows when the folder is too large for one list
	Begin   string // address of its beginning, of a list that follows
	Search  string // of names
	Many    bool   // so that a search helps
	Skipped bool
	Write   bool
	Fault   string // of the form that came before
	Wrong   string // which form that was
	Places  []crumb
	New     string // what was typed
	Actions struct{ New, Upload string }
}

// fileRow is one entry of a folder.
type fileRow struct {
	Spans                      []span
	Label                      string // for readers of the buttons
	Kind                       string // folder, file, link, other
	Target                     string // of a link
	Size                       string
	Mode                       string
	At                         time.Time
	Href, Download, Move, Gone string // addresses; empty where there is none
	Odd                        bool   // its name is not text
}

// serveFiles is GET /pod/:name/files: a folder. Query: path, q, page, from.
func (s *Pages) serveFiles(w http.ResponseWriter, r *http.Request, o opened) error {
	return s.showFolder(w, r, o, pathAsked(r), http.StatusOK, func(*filesPage) {})
}

// showFolder shows a folder, after a form of it that failed with what change says.
func (s *Pages) showFolder(w http.ResponseWriter, r *http.Request, o opened, folder string, status int, change func(*filesPage)) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	q := r.URL.Query()
	view := filesPage{
		Head: s.head(o, pod, "Files"), Path: folder, Crumbs: crumbsOf(o, folder), Write: o.may(authz.WriteFiles),
		Search: searchAsked(q.Get("q")),
	}
	view.Actions.New, view.Actions.Upload = fileAddress(o, "/new", folder), fileAddress(o, "/upload", folder)
	for _, place := range []string{appFolder, homeFolder, "/tmp"} {
		if place != folder && !strings.HasPrefix(folder, place+"/") { // those are among the crumbs
			view.Places = append(view.Places, crumb{[]span{{Text: place}}, fileAddress(o, "", place)})
		}
	}
	list, err := s.pods.ListFiles(r.Context(), o.Actor, o.Name, pods.ListQuery{Path: folder, Cursor: text.Cut(q.Get("from"), wire.MaxCursor)})
	switch {
	case isFault(err, wire.FaultNotDir):
		return s.Redirect(w, fileAddress(o, "/view", folder))
	case err != nil && (!pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound)):
		return s.podError(err)
	case err != nil:
		view.Fault, view.Write = sentence(err), false
		if status == http.StatusOK {
			status = http.StatusConflict
		}
	}
	view.fill(r, o, list)
	change(&view)
	return s.area.Render(w, r, page.Plain, status, "files", page.Frame{
		Title: "Files · " + o.Name, Here: "pods", Wide: true, Page: view, Scripts: []string{"files.js"},
	})
}

func searchAsked(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text.Cut(s, maxSearch), "\x00", ""), "")
}

// isFault reports whether an agent refused with that code.
func isFault(err error, code string) bool {
	var f *wire.Fault
	return errors.As(err, &f) && f.Code == code
}

// fill shows the entries of a folder, folders first.
func (v *filesPage) fill(r *http.Request, o opened, list wire.Listing) {
	entries := list.Entries
	if v.Search != "" {
		entries = slices.DeleteFunc(entries, func(e wire.FileInfo) bool {
			return !strings.Contains(strings.ToLower(e.Name), strings.ToLower(v.Search))
		})
	}
	rank := func(e wire.FileInfo) int { return len(strings.TrimPrefix(e.Type, "dir")) }
	slices.SortStableFunc(entries, func(a, b wire.FileInfo) int { return cmp.Compare(min(1, rank(a)), min(1, rank(b))) })
	v.Many = len(entries) > 20
	entries, v.Part = page.Cut(r, entries, "path", "q", "from")
	for _, e := range entries {
		v.Entries = append(v.Entries, fileRowOf(o, v.Path, e, v.Write))
	}
	if list.Cut {
		v.Further = fileAddress(o, "", v.Path, "from", list.Cursor, "q", v.Search)
	}
	if r.URL.Query().Get("from") != "" {
		v.Begin = fileAddress(o, "", v.Path, "q", v.Search)
	}
}

func fileRowOf(o opened, folder string, e wire.FileInfo, write bool) fileRow {
	row := fileRow{
		Spans: namedSpans(e.Name), Label: text.Line(e.Name, 80), Mode: text.Line(e.Mode, 4), At: e.Modified, Target: text.Line(e.Target, 80),
		Kind: "other",
	}
	at := folder + "/" + e.Name
	switch e.Type {
	case "dir":
		row.Kind, row.Href = "folder", fileAddress(o, "", at)
	case "file":
		row.Kind, row.Size, row.Href, row.Download = "file", sizeWords(e.Size), fileAddress(o, "/view", at), fileAddress(o, "/download", at)
	case "symlink":
		row.Kind, row.Href = "link", fileAddress(o, "/view", at)
	}
	// A name that is not text cannot be told to anybody as it is.
	if row.Odd = e.Name == "" || strings.ContainsAny(e.Name, "/\x00\ufffd") || !utf8.ValidString(e.Name); row.Odd {
		row.Href, row.Download = "", ""
		return row
	}
	if write && at != appFolder {
		folder := ""
		if e.Type == "dir" {
			folder = "1"
		}
		row.Move, row.Gone = fileAddress(o, "/move", at), fileAddress(o, "/delete", at, "folder", folder)
	}
	return row
}

// sizeWords is a size as people read it beside files.
func sizeWords(n int64) string {
	switch {
	case n < 0:
		return ""
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f kB", float64(n)/1024)
	case n < 1<<30:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
}

// filePage is the content of file.html.
type filePage struct {
	Head                 podHead
	Path                 string
	Crumbs               []crumb
	Size, Mode           string
	At                   time.Time
	Lines                []codeLine
	Image                string // address; empty: it is none
	Why                  string // it is not shown
	Cut                  bool   // only its beginning is
	Download, Edit, Move string
	Gone                 string
	Hidden               bool // it has characters that are not seen
}

// serveFile is GET /pod/:name/files/view: one file. Query: path.
func (s *Pages) serveFile(w http.ResponseWriter, r *http.Request, o opened) error {
	at := pathAsked(r)
	file, err := s.pods.ReadFile(r.Context(), o.Actor, o.Name, at, 0, maxShown)
	if isFault(err, wire.FaultIsDir) {
		return s.Redirect(w, fileAddress(o, "", at))
	}
	if err != nil {
		return s.podError(err)
	}
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view := filePage{
		Head: s.head(o, pod, "Files"), Path: at, Crumbs: crumbsOf(o, at), Size: sizeWords(file.Info.Size), Mode: text.Line(file.Info.Mode, 4), At: file.Info.Modified,
		Download: fileAddress(o, "/download", at), Cut: file.More,
	}
	if o.may(authz.WriteFiles) {
		view.Move, view.Gone = fileAddress(o, "/move", at), fileAddress(o, "/delete", at)
	}
	content, isText := textOf(file)
	switch {
	case imageType(file.Content) != "" && file.Info.Size <= maxImage:
		view.Image, view.Cut = fileAddress(o, "/raw", at), false
	case !isText:
		view.Why, view.Cut = "This file is not text. Download it to see what it holds.", false
	case file.Info.Size == 0:
		view.Why = "This file is empty."
	default:
		view.Lines, view.Hidden = s.codeLines(path.Base(at), content), hasNamed(content)
	}
	if _, err := editable(file); err == nil && o.may(authz.WriteFiles) {
		view.Edit = fileAddress(o, "/edit", at)
	}
	return s.area.Render(w, r, page.Plain, http.StatusOK, "file", page.Frame{Title: text.Line(path.Base(at), 60) + " · " + o.Name, Here: "pods", Wide: true, Page: view})
}

// textOf is the beginning of a file as text, and whether it is one.
func textOf(file pods.FileContent) (string, bool) {
	content := file.Content
	if file.More { // a character may have been cut
		for i := 0; i < utf8.UTFMax && len(content) > 0 && !utf8.Valid(content[max(0, len(content)-utf8.UTFMax):]); i++ {
			content = content[:len(content)-1]
		}
	}
	return string(content), utf8.Valid(content) && !bytes.ContainsRune(content, 0)
}

// hasNamed reports whether text has characters that would not be seen, or that turn
// what stands around them.
func hasNamed(content string) bool {
	return strings.ContainsFunc(content, func(c rune) bool {
		p := painter{}
		p.put(c, string(c))
		return len(p.spans) > 0 && c != '\r' && c != '\n'
	})
}

// imageType is the type of a picture that browsers show and that can hold no script,
// by how it begins; empty for everything else, SVG among it.
func imageType(content []byte) string {
	kind := http.DetectContentType(content)
	if slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, kind) {
		return kind
	}
	return ""
}

// serveRaw is GET /pod/:name/files/raw: a picture for a page of ours. Query: path.
func (s *Pages) serveRaw(w http.ResponseWriter, r *http.Request, o opened) error {
	if to := r.Header.Get("Sec-Fetch-Dest"); to != "" && to != "image" {
		return web.Fault(http.StatusForbidden, "not_shown", "Pictures are shown on the page of their file.", nil)
	}
	file, err := s.pods.Download(r.Context(), o.Actor, o.Name, pathAsked(r))
	if err != nil {
		return s.podError(err)
	}
	defer file.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return s.podError(err)
	}
	kind := imageType(head[:n])
	if kind == "" || file.Info.Size > maxImage {
		return web.Fault(http.StatusUnsupportedMediaType, "not_shown", "This file is no picture that is shown here. Download it.", nil)
	}
	page.SetHeaders(w, page.Plain)
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.WriteHeader(http.StatusOK)
	// Whether it breaks off shows in the picture; there is nobody else to tell.
	_, _ = io.Copy(w, io.MultiReader(bytes.NewReader(head[:n]), file))
	return nil
}

// serveFileDownload is GET /pod/:name/files/download: a file of any size and kind,
// for the browser to save. Query: path.
func (s *Pages) serveFileDownload(w http.ResponseWriter, r *http.Request, o opened) error {
	at := pathAsked(r)
	file, err := s.pods.Download(r.Context(), o.Actor, o.Name, at)
	if err != nil {
		return s.podError(err)
	}
	defer file.Close()
	saveHeaders(w, path.Base(at), "application/octet-stream")
	w.Header().Set("Content-Length", fmt.Sprint(file.Info.Size))
	w.WriteHeader(http.StatusOK)
	if _, err := io.Copy(w, file); err != nil {
		panic(http.ErrAbortHandler) // so that nobody takes the part for the whole
	}
	return nil
}

// serveMove is GET /pod/:name/files/move. Query: path.
func (s *Pages) serveMove(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.WriteFiles) {
		return s.mayNot()
	}
	at := pathAsked(r)
	return s.showMove(w, r, o, http.StatusOK, movePage{Path: at, Spans: namedSpans(at), To: at, Action: fileAddress(o, "/move", at), Back: fileAddress(o, "", path.Dir(at))})
}

// movePage is the content of file_move.html.
type movePage struct {
	Path, To     string
	Spans        []span
	Action, Back string
	Fault        string
	Exists       bool // what stands under the new name may be replaced
}

func (s *Pages) showMove(w http.ResponseWriter, r *http.Request, o opened, status int, view movePage) error {
	return s.area.Render(w, r, page.Plain, status, "file_move", page.Frame{Title: "Rename or move · " + o.Name, Here: "pods", Page: view})
}

// mayNot refuses what the role of somebody does not let them do.
func (s *Pages) mayNot() error {
	return web.Fault(http.StatusForbidden, "not_allowed", "Your role in this team does not let you do that. An owner of the team can change your role.", nil)
}

// handleMove is POST /pod/:name/files/move.
func (s *Pages) handleMove(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.WriteFiles) {
		return s.mayNot()
	}
	at, to := pathAsked(r), r.PostFormValue("to")
	_, err := s.pods.MoveFile(r.Context(), o.Actor, o.Name, at, to, r.PostFormValue("replace") == "yes")
	s.note(r, o, history.AuditPodFiles, "moved "+at+" to "+to, err)
	if err == nil {
		s.SetNotice(w, "moved", 0)
		return s.Redirect(w, fileAddress(o, "", path.Dir(cleanTo(to))))
	}
	if !pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound) {
		return s.podError(err)
	}
	return s.showMove(w, r, o, http.StatusConflict, movePage{
		Path: at, Spans: namedSpans(at), To: to, Action: fileAddress(o, "/move", at), Back: fileAddress(o, "", path.Dir(at)),
		Fault: sentence(err), Exists: isFault(err, wire.FaultExists),
	})
}

// cleanTo is a path as the pod understands it.
func cleanTo(to string) string {
	if !strings.HasPrefix(to, "/") {
		to = appFolder + "/" + to
	}
	return path.Clean(to)
}

// serveDeleteFile is GET /pod/:name/files/delete. Query: path, folder.
func (s *Pages) serveDeleteFile(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.WriteFiles) {
		return s.mayNot()
	}
	at, folder := pathAsked(r), r.URL.Query().Get("folder")
	c := page.Confirmation{
		Title: "Delete “" + text.Line(path.Base(at), 80) + "”?", Text: text.Line(at, 300), After: "It cannot be brought back.",
		Action: fileAddress(o, "/delete", at, "folder", folder), Button: "Delete", Back: fileAddress(o, "", path.Dir(at)),
	}
	if folder != "" {
		c.After, c.Button = "The folder goes with everything that lies in it. It cannot be brought back.", "Delete all of it"
	}
	return s.Confirm(w, r, "Delete · "+o.Name, "pods", c)
}

// handleDeleteFile is POST /pod/:name/files/delete. Query: path, folder.
func (s *Pages) handleDeleteFile(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.WriteFiles) {
		return s.mayNot()
	}
	at := pathAsked(r)
	_, err := s.pods.DeleteFile(r.Context(), o.Actor, o.Name, at, r.URL.Query().Get("folder") != "")
	s.note(r, o, history.AuditPodFiles, "deleted "+at, err)
	if isFault(err, wire.FaultIsDir) { // it has become a folder since
		return s.Redirect(w, fileAddress(o, "/delete", at, "folder", "1"))
	}
	if err != nil && !errors.Is(err, pods.ErrNoFile) {
		return s.podError(err)
	}
	s.SetNotice(w, "file-deleted", 0)
	return s.Redirect(w, fileAddress(o, "", path.Dir(at)))
}
