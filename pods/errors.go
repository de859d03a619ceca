package pods

import "errors"

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
	ErrTooLarge      = errors.New("file too large")
	ErrTimedOut      = errors.New("command timed out")
	ErrOverPlan      = errors.New("over the plan's limit")
	ErrOverQuota     = errors.New("over the team's quota")
	ErrBadInput      = errors.New("bad input")
	ErrUnavailable   = errors.New("pods cannot run on this server")
)
