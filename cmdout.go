package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"podgate/internal/text"
)

// jsonFlag declares --json.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON for programs")
}

// printJSON writes one indented JSON value.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, plainJSON(b.String()))
	return err
}

// done says what a command has changed: as one object, the one that the command which
// shows or lists it prints, or in words.
func (inv *invocation) done(asJSON bool, changed any, words string, args ...any) error {
	if asJSON {
		return printJSON(inv.Stdout, changed)
	}
	return inv.say(words, args...)
}

// gap is how far columns of a table are apart.
const gap = 2

// column is one of a table that may be cut, and how.
type column struct {
	at  int
	cut func(text string, max int) string
}

// fit cuts what stands in the widest of some columns until a line of the table
// is at most width characters long, or each of them has hardly room for more.
func fit(rows [][]string, width int, columns ...column) {
	widths := make([]int, len(rows[0]))
	total := -gap
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i] + gap
	}
	const least = 6
	for ; total > width; total-- {
		widest := slices.MaxFunc(columns, func(a, b column) int { return widths[a.at] - widths[b.at] }).at
		if widths[widest] <= least {
			break
		}
		widths[widest]--
	}
	for _, row := range rows {
		for _, c := range columns {
			row[c.at] = c.cut(row[c.at], widths[c.at])
		}
	}
}

// printTable writes rows in columns, the first row being the heads. Names come
// from people, so what could steer a terminal is not printed as it is.
func printTable(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, gap, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = text.Visible(row[i])
		}
		if _, err := fmt.Fprintln(tw, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}
