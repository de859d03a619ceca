package oauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"podgate/store"
)

// maxClientURL bounds a client identifier that is a URL, in characters. It is
// a key of the store and part of an authorization request.
const maxClientURL = 512

// isClientURL reports whether a client identifies itself by the address of a
// document. Identifiers that this server gives out hold no colon.
func isClientURL(id store.ClientID) bool { return strings.HasPrefix(string(id), "https://") }

// parseClientURL checks a Client Identifier URL
// (draft-ietf-oauth-client-id-metadata-document section 3) and returns its
// host, a name in lower case. Stricter than the draft it wants one spelling of
// a host and no port, so that two identifiers are never one document, and a
// name in the place of an address, because the name is what a person is shown.
// The error says in words what is wrong and quotes nothing.
func parseClientURL(id string) (host string, err error) {
	rest, found := strings.CutPrefix(id, "https://")
	if !found {
		return "", errors.New("it does not begin with https://")
	}
	if len(id) > maxClientURL {
		return "", fmt.Errorf("it is longer than %d characters", maxClientURL)
	}
	if err := checkURICharacters(id); err != nil {
		return "", err
	}
	host, path := splitAuthority(rest)
	if err := checkDocumentHost(host); err != nil {
		return "", err
	}
	path, _, _ = strings.Cut(path, "?")
	if path == "" || path == "/" {
		return "", errors.New("it has no path")
	}
	if slices.ContainsFunc(strings.Split(path, "/"), isDotSegment) {
		return "", errors.New("its path holds a dot segment")
	}
	return host, nil
}

func checkDocumentHost(host string) error {
	switch {
	case strings.ContainsAny(host, "@%"):
		return errors.New("its host part holds a user name or percent-encoding")
	case strings.HasPrefix(host, "["):
		return errors.New("its host is an address and not a name")
	case strings.Contains(host, ":"):
		return errors.New("it names a port")
	case host != strings.ToLower(host):
		return errors.New("its host is not in lower case")
	}
	loopback, err := checkHost(host)
	if err != nil {
		return err
	}
	labels := strings.Split(host, ".")
	if loopback || len(labels) < 2 || looksNumeric(labels[len(labels)-1]) {
		return errors.New("its host is not a name on the internet")
	}
	return nil
}

// isDotSegment knows the encoded forms too: servers and proxies resolve them.
func isDotSegment(segment string) bool {
	plain := strings.ReplaceAll(strings.ToLower(segment), "%2e", ".")
	return plain == "." || plain == ".."
}
