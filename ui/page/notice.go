package page

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Notice is one line about what a form did, shown on the next page. Of page and
// section it is shown beside what was pressed; without them at the top of any.
type Notice struct {
	Page    string // the template's name
	Section string
	Text    func(count int) string
}

// Says is a notice without a number.
func Says(page, section, text string) Notice {
	return Notice{page, section, func(int) string { return text }}
}

// waiting is a notice that a browser carries: a word and a number only, so that
// nobody can make podgate say something.
type waiting struct {
	word  string
	count int
}

// SetNotice has the next page show one of the notices.
func (s *Shell) SetNotice(w http.ResponseWriter, word string, count int) {
	s.SetCookie(w, noticeCookie, word+"."+strconv.Itoa(count), time.Minute)
}

// takeNotice returns the notice that waits, or the zero one, and removes it.
func (s *Shell) takeNotice(w http.ResponseWriter, r *http.Request) waiting {
	value := s.Cookie(r, noticeCookie)
	if value == "" {
		return waiting{}
	}
	s.ClearCookie(w, noticeCookie)
	word, number, _ := strings.Cut(value, ".")
	count, err := strconv.Atoi(number)
	if err != nil || count < 0 || count > 1_000_000 {
		return waiting{}
	}
	return waiting{word, count}
}

// NoticeAt returns the words that belong into that section of the page, beside
// what was pressed. The section «top» has what is about no section of it.
func (f Frame) NoticeAt(section string) string {
	n, known := f.notices[f.notice.word]
	if !known {
		return ""
	}
	at := n.Section
	if at == "" || n.Page != f.name {
		at = "top"
	}
	if at != section {
		return ""
	}
	return n.Text(f.notice.count)
}
