// Package text makes text from elsewhere fit to be shown, stored and logged.
//
// Names, hosts, User-Agents and reasons come from people, clients and apps. None
// of them may look like something else, run over the words around it, steer a
// terminal or fill a page. Escaping for a format (HTML, JSON, a header) is left
// to whoever writes that format.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxCombining is how many marks may stand on one letter. Vietnamese and Thai
// need two; towers of them cover the lines around.
const maxCombining = 2

// Line returns s as one line of at most max characters, the last an ellipsis
// when something was cut. It is cleaned as by Clean. It reads no further than
// anything that could be shown reaches, so a long s costs no more than a short
// one.
func Line(s string, max int) string {
	return Short(Clean(Cut(s, 16*max)), max)
}

// Field returns s cleaned as by Clean, in at most max bytes: for records whose
// size is bounded.
func Field(s string, max int) string {
	return strings.TrimRight(Cut(Clean(Cut(s, 4*max)), max), " ")
}

// Clean returns s as one line: single spaces, no control or direction
// characters, nothing invisible, no towers of combining marks, no bytes that are
// not UTF-8.
func Clean(s string) string {
	var b strings.Builder
	marks, space := maxCombining, false // a mark needs a letter before it
	for _, c := range s {
		switch {
		case isBlank(c):
			space = b.Len() > 0
			continue
		case isUnseen(c):
			continue
		case unicode.IsMark(c):
			if marks++; marks > maxCombining || space {
				continue
			}
		default:
			marks = 0
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Cut returns the longest beginning of s that is at most max bytes long and
// splits no character.
func Cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// Short returns s in at most max characters, the last an ellipsis when something
// was cut. It cleans nothing: it is for what an error repeats with %q, where a
// character that does not show may be the very fault.
func Short(s string, max int) string {
	if utf8.RuneCountInString(s) <= max {
		return s
	}
	start, _ := Start(s, max-1)
	return strings.TrimRight(start, " ") + "…"
}

// Valid keeps the lines of s and makes each fit for JSON and for reading: bytes
// that are not UTF-8 and control characters other than line breaks and tabs
// become U+FFFD.
func Valid(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if isControl(c) {
			return utf8.RuneError
		}
		return c
	}, s)
}

// Visible replaces each character that is not seen as itself, which could steer
// a terminal, by U+FFFD.
func Visible(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return utf8.RuneError
	}, s)
}

// Start returns the first n characters of s and how many it cut after them.
func Start(s string, n int) (string, int) {
	cut := utf8.RuneCountInString(s) - n
	if cut <= 0 {
		return s, 0
	}
	end := 0
	for range n {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	return s[:end], cut
}

// End returns the last n characters of s and how many it cut before them.
func End(s string, n int) (string, int) {
	cut := utf8.RuneCountInString(s) - n
	if cut <= 0 {
		return s, 0
	}
	for range cut {
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
	}
	return s, cut
}

// isBlank reports whether c shows as empty space of any kind.
func isBlank(c rune) bool {
	switch c {
	case '\u2800', '\U0001D159': // a braille cell without dots, a note without a head
		return true
	}
	return unicode.IsSpace(c) || unicode.Is(unicode.Z, c)
}

// isUnseen reports whether c is invisible or changes how its neighbours are
// shown: controls, direction and joining characters, variation selectors,
// fillers, private use, what no font has, what was not valid UTF-8.
func isUnseen(c rune) bool {
	return c == utf8.RuneError || !unicode.IsPrint(c) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, c) || unicode.Is(unicode.Variation_Selector, c)
}

// isControl leaves ESC alone: terminal colours are noise, but legible noise.
func isControl(c rune) bool {
	return c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != 0x1b || c == 0x7f
}
