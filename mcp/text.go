package mcp

import (
	"fmt"
	"unicode/utf8"
)

// maxOutput bounds the text of one answer, in characters.
const maxOutput = 100_000

// framing is kept free in maxOutput for what stands around cut text.
const framing = 4_000

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
