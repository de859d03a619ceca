package podpages

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/ui/page"
)

const (
	maxTextForm = 4 * maxShown // bytes of a form with a text in it, encoded
	maxFiles    = 200          // of one form
	uploadTime  = 30 * time.Minute
)

// Large forms that come at a time: each waits in memory, several times over.
const (
	largeForms     = 48
	largeFormsEach = 4 // of one person
)

// postLarge is the route of a form with more in it than others have. Nothing of its
// body is read of somebody who is not signed in, nor of one who sends many.
func (s *Pages) postLarge(route string, size int64, h web.Handler) web.Route {
	form := s.FormUpTo(size, h)
	return web.Route{Method: http.MethodPost, Path: route, Errors: s.WriteError, Page: true, Handler: func(w http.ResponseWriter, r *http.Request) error {
		if err := s.PageHost.SameOrigin(r); err != nil {
			return err
		}
		_, user, ok := s.Current(r)
		if !ok {
			return s.Redirect(w, "/sign-in")
		}
		leave, ok := s.large.enter(user.ID)
		if !ok {
			return web.Fault(http.StatusTooManyRequests, "busy", "Much is being saved at the moment. Go back and save once more in a moment.", nil)
		}
		defer leave()
		return form(w, r)
	}}
}

// postStream is the route of a form whose body is read as it comes. Like any form, it
// counts from our own pages only.
func (s *Pages) postStream(route string, h web.Handler) web.Route {
	return web.Route{Method: http.MethodPost, Path: route, Errors: s.WriteError, Page: true, Handler: func(w http.ResponseWriter, r *http.Request) error {
		if err := s.PageHost.SameOrigin(r); err != nil {
			return err
		}
		return h(w, r)
	}}
}

// editPage is the content of file_edit.html.
type editPage struct {
	Head    podHead
	Path    string
	Crumbs  []crumb
	Content string
	Version string // of the file that the text comes from
	CRLF    bool   // its lines end so
	Hidden  bool   // it has characters that are not seen
	Fault   string
	Theirs  []codeLine // what it is by now, when somebody else changed it
	Gone    bool       // somebody else deleted it
	Action  string
	Back    string
	Again   string // address of this page anew, which forgets what was typed
}

// editable returns the text of a file as a form can give it back unchanged.
func editable(file pods.FileContent) (content string, err error) {
	content, isText := textOf(file)
	lines := strings.Count(content, "\n")
	switch crlf := strings.Count(content, "\r\n"); {
	case file.More:
		return "", fmt.Errorf("it has more than %d kB; download it, change it and upload it", maxShown>>10)
	case !isText:
		return "", errors.New("it is not text; download it, change it and upload it")
	case strings.Count(content, "\r") != crlf || crlf != 0 && crlf != lines:
		return "", errors.New("its lines end in several ways, which a form would not keep; download it, change it and upload it")
	}
	return content, nil
}

// serveEdit is GET /pod/:name/files/edit. Query: path.
func (s *Pages) serveEdit(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.WriteFiles) {
		return s.mayNot()
	}
	at := pathAsked(r)
	file, err := s.pods.ReadFile(r.Context(), o.Actor, o.Name, at, 0, maxShown)
	if err != nil {
		return s.podError(err)
	}
	content, err := editable(file)
	if err != nil {
		return web.Fault(http.StatusConflict, "refused", "This file cannot be edited here: "+err.Error()+".", err)
	}
	return s.showEdit(w, r, o, http.StatusOK, editPage{Path: at, Content: content, Version: pods.Version(file.Content), CRLF: strings.Contains(content, "\r\n")})
}

func (s *Pages) showEdit(w http.ResponseWriter, r *http.Request, o opened, status int, view editPage) error {
	pod, err := s.pods.Get(r.Context(), o.Actor, o.Name)
	if err != nil {
		return s.podError(err)
	}
	view.Head, view.Crumbs, view.Hidden = s.head(o, pod, "Files"), crumbsOf(o, view.Path), hasNamed(view.Content)
	view.Action, view.Back, view.Again = fileAddress(o, "/edit", view.Path), fileAddress(o, "/view", view.Path), fileAddress(o, "/edit", view.Path)
	if view.Version == pods.Absent {
		view.Back = fileAddress(o, "", path.Dir(view.Path))
	}
	return s.area.Render(w, r, page.Plain, status, "file_edit", page.Frame{
		Title: "Edit " + path.Base(view.Path) + " · " + o.Name, Here: "pods", Wide: true, Page: view, Scripts: []string{"files.js"},
	})
}

// handleEdit is POST /pod/:name/files/edit: it takes the place of the version that was
// read and of no other. Query: path.
func (s *Pages) handleEdit(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.WriteFiles) {
		return s.mayNot()
	}
	at := pathAsked(r)
	view := editPage{Path: at, Version: r.PostFormValue("version"), CRLF: r.PostFormValue("ends") == "crlf"}
	// A browser sends each line end as CR LF, whatever it was.
	view.Content = strings.ReplaceAll(r.PostFormValue("content"), "\r\n", "\n")
	if view.CRLF {
		view.Content = strings.ReplaceAll(view.Content, "\n", "\r\n")
	}
	if len(view.Content) > maxShown {
		view.Fault = fmt.Sprintf("The text has become longer than %d kB, which is too much for this page. Shorten it, or upload it as a file.", maxShown>>10)
		return s.showEdit(w, r, o, http.StatusRequestEntityTooLarge, view)
	}
	if view.Version == "" {
		return web.Fault(http.StatusBadRequest, "invalid_request", "The form does not say which version of the file was edited. Open the file again.", nil)
	}
	_, err := s.pods.Replace(r.Context(), o.Actor, o.Name, at, view.Version, int64(len(view.Content)), strings.NewReader(view.Content))
	s.note(r, o, history.AuditPodFiles, "edited "+at, err)
	switch {
	case err == nil:
		s.SetNotice(w, "saved", 0)
		return s.Redirect(w, fileAddress(o, "/view", at))
	case errors.Is(err, pods.ErrStale):
		return s.showConflict(w, r, o, view)
	case !pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound):
		return s.podError(err)
	}
	view.Fault = sentence(err)
	return s.showEdit(w, r, o, http.StatusConflict, view)
}

// showConflict shows what somebody else has made of the file beside what was typed.
// Saving once more takes the place of just that.
func (s *Pages) showConflict(w http.ResponseWriter, r *http.Request, o opened, view editPage) error {
	file, err := s.pods.ReadFile(r.Context(), o.Actor, o.Name, view.Path, 0, maxShown)
	switch {
	case errors.Is(err, pods.ErrNoFile):
		view.Gone, view.Version = true, pods.Absent
		return s.showEdit(w, r, o, http.StatusConflict, view)
	case err != nil:
		return s.podError(err)
	}
	theirs, err := editable(file)
	if err != nil {
		view.Fault = "Somebody has changed this file, and what it is by now cannot be edited here: " + err.Error() + ". Copy your text before you leave this page."
		return s.showEdit(w, r, o, http.StatusConflict, view)
	}
	view.Version = pods.Version(file.Content)
	view.Theirs = s.codeLines(path.Base(view.Path), theirs)
	markDifferent(view.Theirs, theirs, view.Content)
	if len(view.Theirs) == 0 {
		view.Theirs = []codeLine{{Number: 1, Differ: true}}
	}
	return s.showEdit(w, r, o, http.StatusConflict, view)
}

// markDifferent marks the lines between the first and the last in which two texts
// differ.
func markDifferent(lines []codeLine, theirs, mine string) {
	a, b := strings.Split(theirs, "\n"), strings.Split(mine, "\n")
	start := 0
	for start < min(len(a), len(b)) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < min(len(a), len(b))-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	for i := start; i < min(len(a)-end, len(lines)); i++ {
		lines[i].Differ = true
	}
}

// handleNew is POST /pod/:name/files/new: an empty file, which is edited next, or a
// folder. Query: path of the folder that it lies in.
func (s *Pages) handleNew(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.WriteFiles) {
		return s.mayNot()
	}
	folder, name := pathAsked(r), strings.TrimSpace(r.PostFormValue("name"))
	at := path.Clean(folder + "/" + name)
	var err error
	switch {
	case name == "" || strings.HasPrefix(name, "/") || at == folder || !strings.HasPrefix(at, folder+"/"):
		return s.folderFault(w, r, o, folder, "new", name, "Give it a name, such as notes.txt.")
	case r.PostFormValue("kind") == "folder":
		_, err = s.pods.MakeFolder(r.Context(), o.Actor, o.Name, at)
	default:
		_, err = s.pods.Replace(r.Context(), o.Actor, o.Name, at, pods.Absent, 0, bytes.NewReader(nil))
	}
	s.note(r, o, history.AuditPodFiles, "made "+at, err)
	switch {
	case err != nil && (!pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound)):
		return s.podError(err)
	case err != nil:
		return s.folderFault(w, r, o, folder, "new", name, sentence(err))
	case r.PostFormValue("kind") == "folder":
		return s.Redirect(w, fileAddress(o, "", at))
	}
	return s.Redirect(w, fileAddress(o, "/edit", at))
}

func (s *Pages) folderFault(w http.ResponseWriter, r *http.Request, o opened, folder, form, typed, fault string) error {
	return s.showFolder(w, r, o, folder, http.StatusConflict, func(v *filesPage) { v.Fault, v.Wrong, v.New = fault, form, typed })
}

// handleFileUpload is POST /pod/:name/files/upload: files as a form brings them, each
// written as it comes. Query: path of the folder that they go to.
func (s *Pages) handleFileUpload(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.WriteFiles) {
		return s.mayNot()
	}
	// The bound on the bodies of small requests is not for this one. What cannot set a
	// deadline is no connection; pauses are bounded elsewhere.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadTime))
	parts, err := r.MultipartReader()
	if err != nil {
		return page.BadForm(err)
	}
	folder := pathAsked(r)
	done, fault, err := s.takeFiles(r, o, folder, parts)
	if done > 0 {
		s.note(r, o, history.AuditPodFiles, fmt.Sprintf("uploaded %s to %s", page.Plural(done, "file", "files"), folder), nil)
	}
	switch {
	case err != nil:
		return s.podError(err)
	case fault != "" && done > 0:
		return s.folderFault(w, r, o, folder, "upload", "", page.Plural(done, "file is", "files are")+" there. "+fault)
	case fault != "":
		return s.folderFault(w, r, o, folder, "upload", "", fault)
	}
	s.SetNotice(w, "uploaded", done)
	return s.Redirect(w, fileAddress(o, "", folder))
}

// takeFiles writes the files of a form into a folder, until one fails. fault is why,
// for a person.
func (s *Pages) takeFiles(r *http.Request, o opened, folder string, parts *multipart.Reader) (done int, fault string, err error) {
	replace := false
	for {
		part, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF) && done == 0:
			return 0, "Choose a file first.", nil
		case errors.Is(err, io.EOF):
			return done, "", nil
		case err != nil:
			return done, "The upload broke off. Send what is missing again.", nil
		case part.FormName() == "replace":
			replace = true
			continue
		case part.FileName() == "":
			continue
		case done >= maxFiles:
			return done, fmt.Sprintf("At most %d files go at once. Send the others after them.", maxFiles), nil
		}
		at := folder + "/" + part.FileName() // without a folder, as package multipart says
		if replace {
			_, err = s.pods.Upload(r.Context(), o.Actor, o.Name, at, 0, -1, part)
		} else {
			_, err = s.pods.Replace(r.Context(), o.Actor, o.Name, at, pods.Absent, -1, part)
		}
		if err != nil {
			if !pods.IsPublic(err) || errors.Is(err, pods.ErrNotFound) {
				return done, "", err
			}
			return done, sentence(err), nil
		}
		done++
	}
}
