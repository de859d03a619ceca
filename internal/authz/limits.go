package authz

import (
	"fmt"
	"strconv"
	"strings"

	"podgate/store"
)

// Limit is what is in the way beside scopes: the limits of a connection, or what
// its person may not do either.
type Limit string

// The limits there are. Asking for more scopes helps against none of them.
const (
	LimitReadOnly Limit = "read-only"
	LimitPrefix   Limit = "prefix"
	LimitPods     Limit = "number of pods"
	LimitPolicy   Limit = "policy" // of the team, for all of its connections
	LimitRole     Limit = "role"   // of the person in the team
	LimitPerson   Limit = "person" // only people do that, and this is a connection
)

// AllowOneMore returns nil when the actor may create a pod in a team whose pods
// have these names, and a *Denied otherwise. Only the pods that there are for
// the actor count. It is for inside the transaction that creates the pod, after
// AllowPod.
func (a Actor) AllowOneMore(names []string) error {
	most := a.Bounds().MaxPods
	if most <= 0 {
		return nil
	}
	count := 0
	for _, name := range names {
		if a.Sees(name) {
			count++
		}
	}
	if count >= most {
		return &Denied{Action: CreatePod, Limit: LimitPods}
	}
	return nil
}

// Sees reports whether there can be a pod of that name for the actor. The prefixes of
// connection and team hold both.
func (a Actor) Sees(name string) bool {
	return strings.HasPrefix(name, a.Limits.Prefix) && strings.HasPrefix(name, a.policy().Limits.Prefix)
}

// Bounds returns the limits of a connection together with those that its team gives
// every connection. Where neither prefix begins with the other there is no pod, and
// Prefix is that of the connection.
func (a Actor) Bounds() store.Limits {
	l, team := a.Limits, a.policy().Limits
	l.ReadOnly = l.ReadOnly || team.ReadOnly
	if strings.HasPrefix(team.Prefix, l.Prefix) {
		l.Prefix = team.Prefix
	}
	if team.MaxPods > 0 && (l.MaxPods <= 0 || team.MaxPods < l.MaxPods) {
		l.MaxPods = team.MaxPods
	}
	return l
}

const (
	// maxPrefix is the length of a DNS label (RFC 1035 section 2.3.4), which
	// the name of a pod is.
	maxPrefix = 63
	// maxMaxPods is far above what a team may have.
	maxMaxPods = 1000
)

// LimitFields are limits as a person writes them into a form.
type LimitFields struct {
	ReadOnly bool
	Prefix   string
	MaxPods  string // empty: no limit
}

// FieldsOf returns limits as the fields of a form show them.
func FieldsOf(l store.Limits) LimitFields {
	f := LimitFields{ReadOnly: l.ReadOnly, Prefix: l.Prefix}
	if l.MaxPods > 0 {
		f.MaxPods = strconv.Itoa(l.MaxPods)
	}
	return f
}

// FieldFault says what is wrong with a field, in a sentence for the person who
// filled it in, and what to write instead.
type FieldFault struct {
	Field   string // prefix or max_pods
	Message string
}

func (f *FieldFault) Error() string { return "authz: " + f.Field + ": " + f.Message }

// Parse reads the fields. The error is a *FieldFault; of several the first.
func (f LimitFields) Parse() (store.Limits, error) {
	prefix := strings.Map(lower, strings.TrimSpace(f.Prefix))
	if prefix != "" && !beginsLabel(prefix) {
		return store.Limits{}, &FieldFault{"prefix", "No pod's name can begin like that. Use letters from a to z, digits and hyphens, with a letter or digit first, such as web-."}
	}
	l := store.Limits{ReadOnly: f.ReadOnly, Prefix: prefix}
	number := strings.TrimSpace(f.MaxPods)
	if number == "" {
		return l, nil
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n < 1 || n > maxMaxPods {
		return store.Limits{}, &FieldFault{"max_pods", fmt.Sprintf("The number of pods must be from 1 to %d. Leave the field empty for no limit.", maxMaxPods)}
	}
	l.MaxPods = int(n)
	return l, nil
}

// lower maps A to Z alone: strings.ToLower would make a letter of the Kelvin
// sign.
func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// beginsLabel reports whether some pod's name begins with prefix: it can be
// made a lower-case LDH label without hyphens as third and fourth characters
// (RFC 5891 section 4.2.3.1).
func beginsLabel(prefix string) bool {
	for i := range len(prefix) {
		if c := prefix[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' && i > 0) {
			return false
		}
	}
	full := len(prefix) == maxPrefix && strings.HasSuffix(prefix, "-")
	encoded := len(prefix) >= 4 && prefix[2:4] == "--"
	return prefix != "" && len(prefix) <= maxPrefix && !full && !encoded
}

// LimitWords says what limits forbid in short phrases, in the order in which a
// form shows them; none for limits that forbid nothing.
func LimitWords(l store.Limits) []string {
	var words []string
	if l.ReadOnly {
		words = append(words, "read-only")
	}
	if l.Prefix != "" {
		words = append(words, "only pods whose name begins with "+l.Prefix)
	}
	if l.MaxPods == 1 {
		words = append(words, "at most 1 pod")
	}
	if l.MaxPods > 1 {
		words = append(words, fmt.Sprintf("at most %d pods", l.MaxPods))
	}
	return words
}
