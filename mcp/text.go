package mcp

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxOutput bounds the text of one answer, in characters.
const maxOutput = 100_000

// framing is kept free in maxOutput for what stands around cut text.
const framing = 4_000

// validText makes text fit for JSON and for reading: bytes that are not UTF-8
// and control characters other than line breaks and tabs become U+FFFD.
func validText(s string) string {
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

// isControl leaves ESC alone: terminal colours are noise, but legible noise.
func isControl(c rune) bool {
	return c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != 0x1b || c == 0x7f
}

// keepEnd returns the last n characters of s and how many it cut before them.
func keepEnd(s string, n int) (string, int) {
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

// keepStart returns the first n characters of s and how many it cut after
// them.
func keepStart(s string, n int) (string, int) {
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

// share divides n characters between two texts: each gets half, and what one
// does not need goes to the other.
func share(a, b string, n int) (forA, forB int) {
	lenA, lenB := utf8.RuneCountInString(a), utf8.RuneCountInString(b)
	switch half := n / 2; {
	case lenA <= half:
		return lenA, n - lenA
	case lenB <= half:
		return n - lenB, lenB
	default:
		return half, n - half
	}
}

// size returns a number of bytes for reading.
func size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", bytes)
}
