package pods

import (
	"errors"
	"fmt"
	"strings"
)

// The words a tool answers with. Each error that Service returns wraps one of
// these (errors.Is) and its text says what to do; the text is for the person
// or model that asked and holds nothing private.
var (
	ErrNotMember     = errors.New("not a member of this team")
	ErrNotFound      = errors.New("pod not found")
	ErrNotRunning    = errors.New("pod is not running")
	ErrInvalidName   = errors.New("invalid name")
	ErrNameTaken     = errors.New("name is taken")
	ErrUnknownPreset = errors.New("unknown preset")
	ErrUnknownPlan   = errors.New("unknown plan")
	ErrUnknownRegion = errors.New("unknown region")
	ErrPresetMissing = errors.New("preset not available here")
	ErrPath          = errors.New("path not allowed")
	ErrNoFile        = errors.New("file not found")
	ErrStale         = errors.New("file changed") // since who replaces it read it
	ErrNoJob         = errors.New("job not found")
	ErrNoSnapshot    = errors.New("snapshot not found")
	ErrNotCopied     = errors.New("the files were not copied")
	ErrTooLarge      = errors.New("file too large")
	ErrTimedOut      = errors.New("command timed out")
	ErrOverPlan      = errors.New("over the plan's limit")
	ErrOverQuota     = errors.New("over the team's quota")
	ErrLimited       = errors.New("this connection is limited") // by the person who approved it
	ErrBadInput      = errors.New("bad input")
	ErrUnavailable   = errors.New("pods cannot run on this server")
	ErrNotStarted    = errors.New("pod could not be started") // it exists and is failed
	ErrAppFailed     = errors.New("the app failed")           // the pod goes on
	ErrNotAnswering  = errors.New("pod does not answer")      // its agent, or the port of its app
	ErrBusy          = errors.New("pod is busy")              // another operation goes on
	ErrIdle          = errors.New("ended")                    // as nobody used it
	ErrInterrupted   = errors.New("interrupted")              // by a change of the same pod: stop, delete, restart, reload
)

// fault is one of the words above with what to do about it. The cause is for
// errors.Is and the log; the text never shows it. lines is what was printed last.
type fault struct {
	word  error
	text  string
	cause error
	lines []string
}

func (f *fault) Error() string {
	sentence := f.word.Error() + ": " + f.text
	if len(f.lines) == 0 {
		return sentence
	}
	return sentence + "\n\nThe last lines:\n" + strings.Join(f.lines, "\n")
}

// Unwrap gives the word and the cause.
func (f *fault) Unwrap() []error {
	if f.cause == nil {
		return []error{f.word}
	}
	return []error{f.word, f.cause}
}

// IsPublic reports whether an error's text is made for the person or model that
// asked. All other errors are for the log.
func IsPublic(err error) bool {
	var f *fault
	return errors.As(err, &f)
}

// refuse makes an error of a word and a text for a person.
func refuse(word error, format string, args ...any) error {
	return &fault{word: word, text: fmt.Sprintf(format, args...)}
}

var (
	errStopped = refuse(ErrNotRunning, "use manage_pod with action start first")
	errAbsent  = refuse(ErrNotFound, "this team has no pod of that name; list_pods shows those it has")
	errForeign = refuse(ErrNotMember, "the pod belongs to another of your teams; reconnect and choose that team")
)
