package podpages

import (
	"embed"
	"io/fs"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/chroma/v2"
)

// The lexers are those of chroma, but for Go and Markdown, which it has in code.
// Its package of all of them would be read at the start of every process of this
// program, the agents in pods among them.
//
//go:embed lexers/*.xml
var lexerFiles embed.FS

// lexers are the languages that are known, read when somebody looks at a file for
// the first time, each one's rules when they are needed.
var lexers = sync.OnceValue(func() *chroma.LexerRegistry {
	all := chroma.NewLexerRegistry()
	names, _ := fs.Glob(lexerFiles, "lexers/*.xml") // the pattern is right
	for _, name := range names {
		all.Register(chroma.MustNewXMLLexer(lexerFiles, name)) // of our own; a test reads each
	}
	return all
})

// highlightTime bounds the colouring of one file. What it did not reach is plain.
const highlightTime = 500 * time.Millisecond

// maxColouring is how many files are coloured at once; others are plain meanwhile.
const maxColouring = 2

// codeLine is a line of a file.
type codeLine struct {
	Number int
	Spans  []span
	Cut    int
	Differ bool // from the other version
}

// codeLines makes the lines of a text file fit for a page, coloured by what its name
// says it is. Characters that are not seen as themselves are shown by their names.
func (s *Pages) codeLines(name, content string) []codeLine {
	p := &codePainter{}
	rest := content
	select {
	case s.colouring <- struct{}{}:
		defer func() { <-s.colouring }()
		rest = content[p.colour(name, content):]
	default:
	}
	p.add("", rest)
	if p.text() || len(p.lines) == 0 {
		p.end()
	}
	return p.lines
}

// codePainter collects lines of spans.
type codePainter struct {
	lines []codeLine
	line  painter
	over  int // characters of the line that are too many
}

// colour adds content by its tokens as far as its time lets it, and returns how many
// bytes that were.
func (p *codePainter) colour(name, content string) (done int) {
	lexer := lexers().Match(name)
	if lexer == nil {
		return 0
	}
	// A lexer is a machine of many patterns that others have written: one that fails
	// costs the colours.
	defer func() { _ = recover() }()
	until := time.Now().Add(highlightTime)
	tokens, err := lexer.Tokenise(&chroma.TokeniseOptions{State: "root"}, content)
	if err != nil {
		return 0
	}
	for token := range tokens.Stdlib() {
		// What does not go on where it was is none of the file.
		if !strings.HasPrefix(content[done:], token.Value) || time.Now().After(until) {
			return done
		}
		done += len(token.Value)
		p.add(tokenClass(token.Type), token.Value)
	}
	return done
}

// add adds text that looks the same.
func (p *codePainter) add(class, text string) {
	p.line.base = class
	for text != "" {
		c, size := utf8.DecodeRuneInString(text)
		switch {
		case c == '\n':
			p.end()
			p.line.base = class
		case c == '\r' && strings.HasPrefix(text[size:], "\n"):
		case p.line.runes >= maxLineRunes:
			p.over++
		default:
			p.line.put(c, text[:size])
		}
		text = text[size:]
	}
	p.line.flush()
}

func (p *codePainter) text() bool { return p.line.runes > 0 }

// end ends a line.
func (p *codePainter) end() {
	p.line.flush()
	p.lines = append(p.lines, codeLine{Number: len(p.lines) + 1, Spans: p.line.spans, Cut: p.over})
	p.line, p.over = painter{}, 0
}

// tokenClass is the class of the stylesheet for a kind of token.
func tokenClass(t chroma.TokenType) string {
	switch {
	case t == chroma.NameFunction, t == chroma.NameFunctionMagic, t == chroma.NameBuiltin:
		return "a-blue"
	case t == chroma.NameTag, t == chroma.NameClass, t == chroma.NameNamespace, t == chroma.NameDecorator:
		return "a-cyan"
	case t == chroma.NameAttribute, t == chroma.NameVariable, t == chroma.NameConstant:
		return "a-yellow"
	case t == chroma.GenericHeading, t == chroma.GenericSubheading, t == chroma.GenericStrong:
		return "a-b"
	case t == chroma.GenericInserted:
		return "a-green"
	case t == chroma.GenericDeleted:
		return "a-red"
	case t.InCategory(chroma.Comment):
		return "a-soft"
	case t.InCategory(chroma.Keyword), t == chroma.OperatorWord:
		return "a-magenta"
	case t.InSubCategory(chroma.LiteralNumber):
		return "a-yellow"
	case t.InCategory(chroma.Literal):
		return "a-green"
	}
	return ""
}
