package oauth

import (
	"fmt"
	"strings"
)

// CheckRedirectScheme returns why the configuration cannot allow a private-use
// scheme for redirect URIs, or nil when it can, so that a mistake is reported
// with all others in the configuration and not by New alone.
func CheckRedirectScheme(scheme string) error {
	scheme = strings.ToLower(scheme)
	switch {
	case !isScheme(scheme):
		return fmt.Errorf(`%q is not a scheme; write it without the colon, such as "cursor"`, scheme)
	case scheme == "http" || scheme == "https":
		return fmt.Errorf("%q needs no entry: https, and http to the person's own machine, are always accepted; leave it out", scheme)
	case forbiddenScheme(scheme):
		return fmt.Errorf(`%q cannot be allowed: browsers and systems act on it themselves; write the private-use scheme of an assistant, such as "cursor"`, scheme)
	}
	return nil
}
