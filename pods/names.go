package pods

import (
	"slices"
	"strings"

	"podgate/internal/text"
	"podgate/pods/wire"
)

// reservedNames are labels that people, mail servers and programs give a
// meaning of their own; a pod that answered there could pass for the owner of
// the domain. Sorted.
var reservedNames = []string{
	"account", "accounts", "admin", "administrator", "api", "auth", "autoconfig", "autodiscover", "billing", "broadcasthost",
	"console", "dashboard", "dns", "enterpriseenrollment", "enterpriseregistration", "ftp", "hostmaster", "imap", "isatap",
	"localdomain", "localhost", "login", "mail", "mcp", "mta-sts", "mx", "ns", "ns1", "ns2", "ns3", "ns4", "oauth", "openid",
	"openpgpkey", "podgate", "pods", "pop", "pop3", "postmaster", "root", "security", "setup", "signin", "signup", "smtp", "ssh",
	"sso", "support", "vpn", "webmail", "webmaster", "wpad", "www",
}

// CheckName returns nil when name can be the name of a new pod, and an
// ErrInvalidName that says what would do otherwise.
func CheckName(name string) error {
	switch {
	case name == "":
		return refuse(ErrInvalidName, "the name is empty; choose one such as my-app")
	case len(name) > wire.MaxLabel:
		return refuse(ErrInvalidName, "the name has %d characters, at most %d are allowed; choose a shorter one", len(name), wire.MaxLabel)
	case !wire.Label(name):
		return refuse(ErrInvalidName, "%q may hold only the letters a to z in lower case, digits and hyphens, and begins and ends with a letter or digit%s", text.Short(name, maxSnippet), suggest(name))
	case len(name) >= 4 && name[2:4] == "--":
		return refuse(ErrInvalidName, "%q has hyphens as its third and fourth characters, which DNS keeps for itself%s", text.Short(name, maxSnippet), suggest(name))
	}
	if _, found := slices.BinarySearch(reservedNames, name); found {
		return refuse(ErrInvalidName, "%q is kept for the server itself; choose another, such as %s-app", name, name)
	}
	return nil
}

// suggest returns "; try x" with a valid name that is close to name, or "".
func suggest(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text.Short(name, maxSnippet)) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	try := strings.TrimRight(b.String(), "-")
	if try == name || CheckName(try) != nil {
		return ""
	}
	return "; try " + try
}
