// Package wire is the protocol between the server and the agent inside a pod:
// HTTP/1.1 with JSON bodies over the streams that a runtime's Dial gives. Both
// sides import it and it imports nothing of ours, because one of them runs where
// hostile code runs. The server treats every answer as hostile input: it bounds
// sizes and times, and uses what it says for this one pod only.
//
//	GET  /v1/state                       State
//	POST /v1/app         AppRequest      State        stream of Event when Accept is application/x-ndjson
//	POST /v1/exec        ExecRequest                  stream of Event, ends with one that has Exit
//	PUT  /v1/file?path=&mode=            FileInfo     body: the content, at most MaxFile bytes
//	GET  /v1/file?path=&offset=&limit=   content      X-File-Size, X-File-Mode (octal), X-File-Modified (RFC 3339)
//	GET  /v1/dir?path=                   []FileInfo
//	GET  /v1/logs?lines=&since=&grep=&source=         []LogLine
//	GET  /v1/usage                       Usage
//	GET  /v1/dial?port=                  101, Upgrade: podgate-tcp: a raw stream to the pod's own 127.0.0.1:port
//
// A refusal is a 4xx or 5xx status with a Fault as JSON. A stream is one JSON
// Event a line (application/x-ndjson).
package wire

import "time"

// Paths of the protocol.
const (
	PathState = "/v1/state"
	PathApp   = "/v1/app"
	PathExec  = "/v1/exec"
	PathFile  = "/v1/file"
	PathDir   = "/v1/dir"
	PathLogs  = "/v1/logs"
	PathUsage = "/v1/usage"
	PathDial  = "/v1/dial"
)

// Limits that both sides keep.
const (
	MaxFile        = 10 << 20          // bytes of one file through a tool
	MaxRead        = 1 << 20           // bytes of one answer of GET /v1/file
	MaxEntries     = 2000              // of one directory listing
	MaxLines       = 1000              // of one logs answer
	MaxExecTimeout = 280 * time.Second // of one command
	MaxLineBytes   = 8 << 10           // of one log line; longer ones are split
)

// Fault is why the agent refused. Code is one of the Fault… constants.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"` // for a person; says what to do
}

func (f *Fault) Error() string { return f.Code + ": " + f.Message }

// Codes of a Fault.
const (
	FaultBadRequest   = "bad_request"
	FaultPath         = "path_not_allowed"
	FaultNotFound     = "not_found"
	FaultTooLarge     = "too_large"
	FaultNotDir       = "not_a_directory"
	FaultIsDir        = "is_a_directory"
	FaultNotListening = "not_listening" // nothing accepts on that port
	FaultNotRunning   = "app_not_running"
	FaultBusy         = "busy"   // too many at once; try again later
	FaultEnded        = "ended"  // what runs in the pod was ended meanwhile
	FaultFailed       = "failed" // anything else; Message says what
)

// AppSpec is what the agent must know about the app it supervises. The server
// sends it with every start, so nothing of it is kept in the pod.
type AppSpec struct {
	Preset string            `json:"preset"` // static, nodejs, python, php, command
	Port   int               `json:"port"`   // told to the app as $PORT
	Env    map[string]string `json:"env,omitempty"`
	Name   string            `json:"name"`          // of the pod; for the welcome page and $PODGATE_NAME
	URL    string            `json:"url,omitempty"` // for the welcome page and $PODGATE_URL
}

// AppRequest changes what the app does. Stop, restart and reload end everything
// that runs in the pod but the agent, so also what commands left behind.
type AppRequest struct {
	Action string   `json:"action"`         // start, stop, restart, reload
	Spec   *AppSpec `json:"spec,omitempty"` // wanted with start, restart and reload
	// Welcome asks start to put the preset's small first page into an empty
	// app folder.
	Welcome bool `json:"welcome,omitempty"`
	// WaitMillis is how long to wait until the port answers before returning
	// the state; 0 returns at once.
	WaitMillis int `json:"wait_millis,omitempty"`
}

// The states of an app.
const (
	AppStopped  = "stopped"
	AppStarting = "starting" // process runs, port does not answer yet; or install goes on
	AppRunning  = "running"  // port answers
	AppWaiting  = "waiting"  // died; the next try is at NextTry
	AppFailed   = "failed"   // died 10 times in a row, or there is nothing to start
)

// State is the app as it is.
type State struct {
	App      string    `json:"app"`
	Reason   string    `json:"reason,omitempty"` // why it waits or failed, for a person
	Command  string    `json:"command,omitempty"`
	Port     int       `json:"port"`
	PID      int       `json:"pid,omitempty"`
	Restarts int       `json:"restarts"` // since the pod started, without those asked for
	Started  time.Time `json:"started,omitzero"`
	NextTry  time.Time `json:"next_try,omitzero"`
	Tail     []LogLine `json:"tail,omitempty"` // last lines when waiting or failed
}

// ExecRequest runs one command with /bin/sh -c as the pod's user.
type ExecRequest struct {
	Command       string            `json:"command"`
	Dir           string            `json:"dir,omitempty"` // default: the app folder
	Env           map[string]string `json:"env,omitempty"`
	Stdin         []byte            `json:"stdin,omitempty"`
	TimeoutMillis int               `json:"timeout_millis"` // 1 to MaxExecTimeout
	MaxOutput     int               `json:"max_output"`     // bytes kept a stream; what is over is counted and dropped
}

// Event is one line of a stream.
type Event struct {
	Stream string `json:"stream,omitempty"` // stdout, stderr, or install
	Data   []byte `json:"data,omitempty"`
	Exit   *Exit  `json:"exit,omitempty"`  // last event of an exec
	State  *State `json:"state,omitempty"` // last event of an app action
	Fault  *Fault `json:"fault,omitempty"` // last event when it went wrong after the status was sent
}

// Exit is how a command ended. When the caller goes away or the time is up,
// everything the command started is killed first.
type Exit struct {
	Code          int    `json:"code"`             // 128+n when killed by signal n
	Signal        string `json:"signal,omitempty"` // such as SIGKILL
	TimedOut      bool   `json:"timed_out,omitempty"`
	DroppedStdout int64  `json:"dropped_stdout,omitempty"` // bytes over MaxOutput
	DroppedStderr int64  `json:"dropped_stderr,omitempty"`
	Millis        int64  `json:"millis"`
}

// FileInfo is one file or directory entry.
type FileInfo struct {
	Name     string    `json:"name"` // base name; in answers to PUT the cleaned absolute path
	Type     string    `json:"type"` // file, dir, symlink, other
	Size     int64     `json:"size"`
	Mode     string    `json:"mode"` // permission bits in octal, such as 0644
	Modified time.Time `json:"modified"`
	Target   string    `json:"target,omitempty"` // of a symlink
}

// Listing answers GET /v1/dir.
type Listing struct {
	Path    string     `json:"path"`
	Entries []FileInfo `json:"entries"`
	Cut     bool       `json:"cut,omitempty"` // more than MaxEntries
}

// LogLine is one line that the app, an install or the agent wrote.
type LogLine struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source"` // app, agent, install
	Stream string    `json:"stream"` // stdout, stderr
	Text   string    `json:"text"`
}

// Usage is what the pod uses, seen from inside.
type Usage struct {
	Memory    int64   `json:"memory"` // sum of resident sets, bytes
	CPU       float64 `json:"cpu"`    // seconds used since the pod started
	Processes int     `json:"processes"`
	Disk      int64   `json:"disk"` // bytes in the home, measured at most every few seconds
}
