package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// width is that of a line, in characters.
const width = 96

// Write prints the report for a person: a line for each check, the advice
// below it, and the outcome at the end.
func (r Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.URL)
	names := 0
	var skipped []string
	for _, f := range r.Findings {
		names = max(names, len(f.Check))
		if f.silent() {
			skipped = append(skipped, f.Check)
		}
	}
	for _, f := range r.Findings {
		if f.silent() {
			continue
		}
		head := fmt.Sprintf("  %-8s %-*s  ", f.Level, names, f.Check)
		margin := strings.Repeat(" ", utf8.RuneCountInString(head))
		b.WriteString(head + wrap(f.Text, margin) + "\n")
		if f.Advice != "" {
			b.WriteString(margin + "→ " + wrap(f.Advice, margin+"  ") + "\n")
		}
	}
	if len(skipped) > 0 {
		const head = "  not looked at: "
		b.WriteString("\n" + head + wrap(strings.Join(skipped, ", "), strings.Repeat(" ", len(head))) + "\n")
	}
	fmt.Fprintf(&b, "\n%s\n", r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// silent findings need no line: there is nothing to do about them.
func (f Finding) silent() bool { return f.Level == Skipped && f.Advice == "" }

func (r Report) summary() string {
	faults, warnings := r.Count(Fault), r.Count(Warning)
	counts := fmt.Sprintf("%d ok, %s, %s.", r.Count(OK), plural(warnings, "warning"), plural(faults, "fault"))
	switch {
	case faults > 0:
		return counts + " Mend the first fault and run this again: others may come from it."
	case warnings > 0:
		return counts + " Clients can connect; the warnings say who may not."
	}
	return counts + " Clients can connect."
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// wrap breaks a text between words; all lines but the first begin with the
// margin.
func wrap(text, margin string) string {
	var b strings.Builder
	used := utf8.RuneCountInString(margin)
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if i > 0 && used+1+n > width {
			b.WriteString("\n" + margin)
			used = utf8.RuneCountInString(margin)
		} else if i > 0 {
			b.WriteString(" ")
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String()
}
