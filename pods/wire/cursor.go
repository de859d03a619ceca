package wire

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// MaxCursor bounds a cursor, in bytes.
const MaxCursor = 16 << 10

var errCursor = errors.New("the cursor is not one that an answer gave")

// Cursor is where a walk through files goes on: after path, which is relative to
// its folder, or with a line from 1 after that line of it. Names that are no text
// stay what they are.
func Cursor(path string, line int) string {
	s := (&url.URL{Path: path}).EscapedPath()
	if line > 0 {
		s += "#" + strconv.Itoa(line)
	}
	return s
}

// ParseCursor reads what Cursor made.
func ParseCursor(s string) (path string, line int, err error) {
	if len(s) > MaxCursor {
		return "", 0, errCursor
	}
	escaped, number, found := strings.Cut(s, "#")
	if found {
		if line, err = strconv.Atoi(number); err != nil || line < 1 {
			return "", 0, errCursor
		}
	}
	if path, err = url.PathUnescape(escaped); err != nil || path == "" && s != "" || strings.ContainsRune(path, 0) {
		return "", 0, errCursor
	}
	return path, line, nil
}
