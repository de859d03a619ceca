package podpages

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is shown of one line of a log. The whole of it is in the download.
const (
	maxLineRunes = 2000
	maxSpans     = 200
)

// span is a part of a line that looks the same: its text, and classes of the
// stylesheet.
type span struct {
	Text  string `json:"t"`
	Class string `json:"c,omitempty"`
}

// spansOf makes a line that an app wrote for a terminal fit for a page. Colours and
// weights become classes; whatever else steers a terminal goes, and what could steer
// the page's text, such as marks of direction, is shown by its name. The number of
// characters that were cut off its end comes with it.
func spansOf(line string) (spans []span, cut int) {
	p := painter{}
	for line != "" && p.runes < maxLineRunes {
		if line[0] == 0x1b {
			line = p.escape(line)
			continue
		}
		c, size := utf8.DecodeRuneInString(line)
		p.put(c, line[:size])
		line = line[size:]
	}
	p.flush()
	return p.spans, utf8.RuneCountInString(line)
}

// painter collects the spans of one line.
type painter struct {
	spans []span
	text  strings.Builder
	look  look
	base  string // class of what no look was asked for
	runes int
	marks int // on the letter before
}

// look is how a terminal is told to show what follows.
type look struct {
	bold, dim, italic, underline bool
	front, back                  string
}

func (l look) class() string {
	var all []string
	add := func(set bool, class string) {
		if set {
			all = append(all, class)
		}
	}
	add(l.bold, "a-b")
	add(l.dim, "a-d")
	add(l.italic, "a-i")
	add(l.underline, "a-u")
	add(l.back != "", "a-on-"+l.back)
	// On a colour the text has the page's own, so that it can be read on any.
	add(l.back == "" && l.front != "", "a-"+l.front)
	return strings.Join(all, " ")
}

func (p *painter) flush() { p.flushAs(cmp.Or(p.look.class(), p.base)) }

func (p *painter) flushAs(class string) {
	if p.text.Len() == 0 {
		return
	}
	n := len(p.spans)
	if n >= maxSpans || n > 0 && class != named && p.spans[n-1].Class == class {
		p.spans[n-1].Text += p.text.String()
	} else {
		p.spans = append(p.spans, span{p.text.String(), class})
	}
	p.text.Reset()
}

// name shows a character that is not seen as itself.
func (p *painter) name(name string) {
	p.flush()
	p.text.WriteString(name)
	p.flushAs(named)
}

// named is the class of a character that is shown by its name.
const named = "a-name"

// namedSpans is a name of a file, in which nothing is an escape.
func namedSpans(name string) []span {
	p := painter{}
	for _, c := range name {
		if p.runes >= 255 {
			break
		}
		p.put(c, string(c))
	}
	p.flush()
	return p.spans
}

// put adds one character.
func (p *painter) put(c rune, raw string) {
	p.runes++
	marks := p.marks
	p.marks = 0
	switch {
	case c == utf8.RuneError:
		p.text.WriteRune(utf8.RuneError) // whatever byte it was
	case c == '\t', c == ' ':
		p.text.WriteRune(c)
	case c < ' ':
		p.name("^" + string(c+'@'))
	case unicode.IsMark(c) && !unicode.Is(unicode.Variation_Selector, c):
		if p.marks = marks + 1; p.marks <= maxMarks {
			p.text.WriteString(raw)
		}
	case c == 0x200c, c == 0x200d, c == 0xad, unicode.Is(unicode.Variation_Selector, c):
		// Joiners and the like are a part of emoji and scripts, and show nothing.
		p.marks = marks
	case !unicode.IsPrint(c), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, c):
		p.name(fmt.Sprintf("U+%04X", c))
	default:
		p.text.WriteString(raw)
	}
}

// maxMarks is how many marks may stand on one letter; towers of them cover the
// lines around.
const maxMarks = 2

// escape takes the sequence away with which line begins, and heeds it when it says
// how text looks.
func (p *painter) escape(line string) string {
	if len(line) < 2 {
		p.name("ESC")
		return ""
	}
	switch line[1] {
	case '[':
		return p.control(line)
	case ']', 'P', 'X', '^', '_':
		return p.command(line)
	}
	// ESC, bytes between, and one that ends it.
	i := 1
	for i < len(line) && line[i] >= 0x20 && line[i] <= 0x2f {
		i++
	}
	if i < len(line) && line[i] >= 0x30 && line[i] <= 0x7e {
		return line[i+1:]
	}
	p.name("ESC")
	return line[1:]
}

// maxParameters bounds a sequence in bytes. A longer one is none.
const maxParameters = 64

// control takes ESC [ … away (ECMA-48, 5.4).
func (p *painter) control(line string) string {
	i := 2
	for i < len(line) && i < maxParameters && line[i] >= 0x20 && line[i] <= 0x3f {
		i++
	}
	if i >= len(line) || line[i] < 0x40 || line[i] > 0x7e {
		p.name("ESC")
		return line[1:]
	}
	if line[i] == 'm' && !strings.ContainsAny(line[2:i], "<=>? ") {
		p.flush()
		p.look.set(line[2:i])
	}
	return line[i+1:]
}

// command takes a string for the terminal away, such as a window's title or the
// address of a link, which would lead where its text does not say.
func (p *painter) command(line string) string {
	for i := 2; i < len(line); i++ {
		switch {
		case line[i] == 0x07:
			return line[i+1:]
		case line[i] == 0x1b && i+1 < len(line) && line[i+1] == '\\':
			return line[i+2:]
		}
	}
	p.name("ESC") // it has no end, so it is shown
	return line[1:]
}

var frontNames = [8]string{"", "red", "green", "yellow", "blue", "magenta", "cyan", ""}

// set heeds the parameters of a Select Graphic Rendition.
func (l *look) set(parameters string) {
	list := strings.FieldsFunc(parameters, func(c rune) bool { return c == ';' || c == ':' })
	if len(list) == 0 {
		*l = look{}
	}
	for i := 0; i < len(list); i++ {
		n, err := strconv.Atoi(list[i])
		switch {
		case err != nil:
			return
		case n == 38 || n == 48:
			name, used := extended(list[i+1:])
			i += used
			if n == 38 {
				l.front = name
			} else {
				l.back = back(name)
			}
		default:
			l.one(n)
		}
	}
}

func (l *look) one(n int) {
	switch {
	case n == 0:
		*l = look{}
	case n == 1:
		l.bold = true
	case n == 2:
		l.dim = true
	case n == 3:
		l.italic = true
	case n == 4:
		l.underline = true
	case n == 7:
		l.back = "plain"
	case n == 22:
		l.bold, l.dim = false, false
	case n == 23:
		l.italic = false
	case n == 24:
		l.underline = false
	case n == 27, n == 49:
		l.back = ""
	case n >= 30 && n <= 37:
		l.front = frontNames[n-30]
	case n == 39:
		l.front = ""
	case n >= 40 && n <= 47:
		l.back = back(frontNames[n-40])
	case n == 90:
		l.front = "soft"
	case n >= 91 && n <= 97:
		l.front = frontNames[n-90]
	case n >= 100 && n <= 107:
		l.back = back(frontNames[n-100])
	}
}

func back(name string) string {
	if name == "" || name == "soft" {
		return "plain"
	}
	return name
}

// extended reads a colour of 256, or of red, green and blue, as the nearest of the
// few that the page has, and says how many parameters it took.
func extended(list []string) (name string, used int) {
	number := func(i int) int {
		if i >= len(list) {
			return 0
		}
		n, _ := strconv.Atoi(list[i]) // 0 is black, the page's own
		return max(0, min(255, n))
	}
	switch number(0) {
	case 5:
		switch n := number(1); {
		case n < 8:
			return frontNames[n], 2
		case n == 8, n >= 238 && n <= 247:
			return "soft", 2
		case n < 16:
			return frontNames[n-8], 2
		case n < 232:
			n -= 16
			return nearest(n/36*51, n/6%6*51, n%6*51), 2
		}
		return "", 2
	case 2:
		return nearest(number(1), number(2), number(3)), 4
	}
	return "", 1
}

// nearest is the colour that has the same of red, green and blue as that one.
func nearest(r, g, b int) string {
	high, low := max(r, g, b), min(r, g, b)
	if high-low < 40 {
		return ""
	}
	n, middle := 0, (high+low)/2
	for i, v := range []int{r, g, b} {
		if v > middle {
			n |= 1 << i
		}
	}
	return frontNames[n]
}
