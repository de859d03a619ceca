package agent

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"podgate/pods/wire"
)

// maxToldLines is how many of the lines with a piece are told.
const maxToldLines = 20

// serveEdit is POST /v1/edit.
func (a *agent) serveEdit(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEditBody))
	if err != nil {
		return err
	}
	req, err := parseEdit(body)
	if err != nil {
		return err
	}
	s, err := a.folders.resolve(req.Path)
	if err != nil {
		return err
	}
	answer, err := editFile(s, req)
	if err != nil {
		return fileFault(s.virtual, err)
	}
	answer.Name, _ = cleanPath(req.Path)
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// editFile replaces a piece of the file at s, which keeps its mode. The file is
// the new one whole or, also when it changed meanwhile, as it was.
func editFile(s spot, r wire.EditRequest) (wire.Edited, error) {
	text, before, err := readText(s)
	if err != nil {
		return wire.Edited{}, err
	}
	out, now, err := replacePiece(s.virtual, text, r)
	if err != nil {
		return wire.Edited{}, err
	}
	info, err := replaceFile(s, before.Mode().Perm(), strings.NewReader(now), func() error { return unchanged(s, before) })
	if err != nil {
		return wire.Edited{}, err
	}
	out.FileInfo = fileInfo(info)
	return out, nil
}

// unchanged reports with an error that the file at s is not what it was.
func unchanged(s spot, before fs.FileInfo) error {
	now, err := s.place.root.Lstat(s.rel)
	if err == nil && os.SameFile(before, now) && before.Size() == now.Size() && before.ModTime().Equal(now.ModTime()) {
		return nil
	}
	return faultf(wire.FaultChanged, "%s changed while it was edited; read it again, then repeat the edit", s.virtual)
}

// readText reads a whole file that must be text, and small enough to be written.
func readText(s spot) (string, fs.FileInfo, error) {
	f, info, err := openRegular(s)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	var b strings.Builder
	if _, err := io.Copy(&b, io.LimitReader(f, wire.MaxFile+1)); err != nil {
		return "", nil, err
	}
	switch text := b.String(); {
	case len(text) > wire.MaxFile:
		return "", nil, faultf(wire.FaultTooLarge, "%s has more than %d bytes, which is too large for an edit; change it with a command", s.virtual, wire.MaxFile)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return "", nil, badRequest("%s is not text (UTF-8), so it cannot be edited; write the whole file, or change it with a command", s.virtual)
	default:
		return text, info, nil
	}
}

// replacePiece returns text after the edit. name is what people call the file.
func replacePiece(name, text string, r wire.EditRequest) (wire.Edited, string, error) {
	found := places(text, r.Old)
	times := max(strings.Count(text, r.Old), len(found))
	switch {
	case times == 0:
		return wire.Edited{}, "", badRequest("old was found 0 times in %s; read the file and give the piece exactly as it stands there, with its spaces and line ends%s", name, lineEnds(text, r.Old))
	case times > 1 && !r.All:
		return wire.Edited{}, "", badRequest("old was found %d times in %s, on lines %s; give more of what stands around the one that you mean, or set all", times, name, listed(linesOf(text, found), times))
	}
	times = strings.Count(text, r.Old)
	// Before the new text is made, which could be as large as both pieces and the
	// file times each other.
	switch grown := int64(times) * int64(len(r.New)-len(r.Old)); {
	case int64(len(text))+grown > wire.MaxFile:
		return wire.Edited{}, "", faultf(wire.FaultTooLarge, "%s would have %d bytes after the edit, at most %d are allowed", name, int64(len(text))+grown, wire.MaxFile)
	case grown > r.Grow:
		return wire.Edited{}, "", faultf(wire.FaultTooLarge, "%s would become longer by %d bytes, and there is room for %d; delete files first", name, grown, r.Grow)
	}
	now := strings.ReplaceAll(text, r.Old, r.New)
	return wire.Edited{Replaced: times, Lines: linesOf(now, newPlaces(text, r))}, now, nil
}

// places returns where the first pieces begin, also those that overlap.
func places(text, piece string) []int {
	var at []int
	for from := 0; len(at) < maxToldLines; {
		i := strings.Index(text[from:], piece)
		if i < 0 {
			break
		}
		at = append(at, from+i)
		from += i + 1
	}
	return at
}

// newPlaces returns where the first new pieces begin after all were replaced.
func newPlaces(text string, r wire.EditRequest) []int {
	var at []int
	for from, grown := 0, 0; len(at) < maxToldLines; grown += len(r.New) - len(r.Old) {
		i := strings.Index(text[from:], r.Old)
		if i < 0 {
			break
		}
		at = append(at, from+i+grown)
		from += i + len(r.Old)
	}
	return at
}

// linesOf returns the numbers of the lines, from 1, of ascending places in text.
func linesOf(text string, at []int) []int {
	lines, line, from := []int{}, 1, 0
	for _, i := range at {
		line += strings.Count(text[from:i], "\n")
		from = i
		lines = append(lines, line)
	}
	return lines
}

func listed(lines []int, times int) string {
	s := strings.Trim(strings.ReplaceAll(fmt.Sprint(lines), " ", ", "), "[]")
	if times > len(lines) {
		s += ", …"
	}
	return s
}

// lineEnds explains the usual reason why nothing was found that can be seen.
func lineEnds(text, old string) string {
	if strings.Contains(old, "\n") && !strings.Contains(old, "\r\n") && strings.Contains(text, strings.ReplaceAll(old, "\n", "\r\n")) {
		return " (its lines end in CR LF, those of old in LF)"
	}
	return ""
}
