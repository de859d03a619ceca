package wire

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// Git names a repository to be fetched over http or https.
type Git struct {
	URL   string `json:"url"`
	Ref   string `json:"ref,omitempty"`   // branch, tag or commit; empty: the default branch
	Token string `json:"token,omitempty"` // for an https URL only
}

var gitRef = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/@+-]{0,250}$`) })

// Check takes nothing but http and https, which go where the pod may go, nothing that
// git could take for an option, and no address with a secret in it: addresses are
// noted and shown. Its words are for a person.
func (g *Git) Check() error {
	u, err := url.Parse(g.URL)
	switch {
	case err != nil || len(g.URL) > 2048 || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the address of the repository must begin with https:// or http://")
	case u.User != nil:
		return errors.New("the address of the repository has a name or password in it; give a token apart")
	case strings.ContainsAny(g.URL, "?#"):
		return errors.New("the address of the repository has a ? or # in it; give a token and a ref apart")
	case g.Token != "" && u.Scheme != "https":
		return errors.New("a token is sent over https only")
	case strings.ContainsFunc(g.Token, func(r rune) bool { return r <= ' ' || r > '~' }) || len(g.Token) > 1024:
		return errors.New("the token must be printable ASCII without spaces, at most 1024 characters")
	case g.Ref != "" && !gitRef().MatchString(g.Ref):
		return errors.New("the ref must be a branch, a tag or a commit")
	}
	return nil
}
