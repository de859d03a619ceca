package oauth

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxNameShown  = 60  // characters of a client name on pages
	maxNameStored = 200 // characters of a client name in the store
	maxCombining  = 2   // marks on one letter; Vietnamese and Thai need two
)

// cleanName makes a client's claim about its name safe to show: one line, no
// control or direction characters, nothing invisible, no towers of combining
// marks, at most limit characters with the last an ellipsis when it was cut.
func cleanName(name string, limit int) string {
	var b strings.Builder
	marks, space := maxCombining, false // a mark needs a letter before it
	for _, c := range name {
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
	return cut(b.String(), limit)
}

// isBlank reports whether c shows as empty space of any kind.
func isBlank(c rune) bool {
	return unicode.IsSpace(c) || unicode.Is(unicode.Z, c) || c == '\u2800' // a braille cell without dots
}

// isUnseen reports whether c is invisible or changes how its neighbours are
// shown: controls, direction and joining characters, variation selectors,
// fillers, private use, what was not valid UTF-8.
func isUnseen(c rune) bool {
	return c == utf8.RuneError || unicode.Is(unicode.C, c) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, c) || unicode.Is(unicode.Variation_Selector, c)
}

func cut(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	runes := []rune(s)[:limit-1]
	return strings.TrimRight(string(runes), " ") + "…"
}
