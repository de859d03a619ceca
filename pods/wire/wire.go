// Package wire is the protocol between the server and the agent inside a pod:
// HTTP/1.1 with JSON bodies over the streams that a runtime's Dial gives. Both
// sides import it and it imports nothing of ours, because one of them runs where
// hostile code runs. The server treats every answer as hostile input: it bounds
// sizes and times, and uses what it says for this one pod only.
//
//	GET  /v1/state                       State
//	GET  /v1/state?follow=1                           stream of Event with State: at once, and after each change
//	POST /v1/app         AppRequest      State        stream of Event when Accept is application/x-ndjson
//	PUT  /v1/release?release=&max=       Imported     body: tar; the source of a deploy that follows, at most max bytes
//	POST /v1/deploy      DeployRequest                stream of Event, ends with one that has Deployed
//	POST /v1/exec        ExecRequest                  stream of Event, ends with one that has Exit
//	POST /v1/job         JobRequest      Job          starts a command that outlives the request
//	GET  /v1/jobs                        []Job        newest first
//	GET  /v1/job?id=&offset=&limit=&wait_millis=      JobOutput, from offset or the newest limit bytes; waits for the end of the job
//	DELETE /v1/job?id=                   Job          ends it and all it started; when it has ended
//	PUT  /v1/file?path=&mode=&max=&was=  FileInfo     body: the content, at most max bytes (default MaxFile); was: what is to be replaced, as its SHA-256 in hex or Absent
//	GET  /v1/file?path=&offset=&limit=   content      X-File-Size, X-File-Mode (octal), X-File-Modified (RFC 3339)
//	GET  /v1/file?path=&whole=1          content      all of it, with the same headers
//	GET  /v1/file?path=&whole=1&offset=  content      from offset to the end, with the same headers
//	GET  /v1/upload?id=&path=&unpack=1                Received     how much has come of an upload to path
//	PUT  /v1/upload?id=&path=&unpack=1&offset=&max=   Received     body: at most max bytes that come after offset; what came of it stays when it breaks off
//	POST /v1/upload      FinishRequest   Finished     all has come
//	DELETE /v1/upload?id=                             Received     nothing, from now on
//	GET  /v1/tar?path=                   tar.gz       all that lies in a folder; TrailerFault
//	DELETE /v1/file?path=&recursive=1    FileInfo     what was deleted; a link itself, not where it leads
//	POST /v1/move        MoveRequest     FileInfo     under its new name
//	POST /v1/edit        EditRequest     Edited
//	GET  /v1/home                        tar          all that lies in the home; TrailerFault
//	PUT  /v1/home?max=                   Imported     body: tar; ends the app and all else, and replaces the home
//	GET  /v1/dir?path=&recursive=1&glob=&cursor=&limit=                        Listing
//	PUT  /v1/dir?path=                   FileInfo     makes a folder, and those on the way to it
//	GET  /v1/search?path=&query=&regex=1&ignore_case=1&glob=&cursor=&limit=    Found
//	GET  /v1/logs?lines=&since=&before=&grep=&source=&stream=                  []LogLine
//	GET  /v1/logs?…&follow=1                          stream of Event with Lines: the newest lines, then those that come
//	GET  /v1/usage                       Usage
//	GET  /v1/dial?port=                  101, Upgrade: podgate-tcp: a raw stream to the pod's own 127.0.0.1:port
//	POST /v1/terminal    TerminalRequest 101, Upgrade: podgate-terminal: frames, see terminal.go
//
// The tar has files, folders, symbolic and hard links by their names in the home,
// with modes and times. What else lies there is left out, and so is, in the home
// itself, what begins with OwnPrefix.
//
// A stream that follows ends when either side does. It never holds up what it
// follows: who reads slowly loses lines, which are counted, and states between
// two others.
//
// A refusal is a 4xx or 5xx status with a Fault as JSON. A stream is one JSON
// Event a line (application/x-ndjson).
package wire

import "time"

// Protocol is the number of the protocol. It rises with every change that an agent of an
// earlier program, which runs on while another takes over from its server, would get
// wrong: pods with such agents are started anew then.
const Protocol = 1

// Paths of the protocol.
const (
	PathState   = "/v1/state"
	PathApp     = "/v1/app"
	PathRelease = "/v1/release"
	PathDeploy  = "/v1/deploy"
	PathExec    = "/v1/exec"
	PathFile    = "/v1/file"
	PathMove    = "/v1/move"
	PathEdit    = "/v1/edit"
	PathHome    = "/v1/home"
	PathDir     = "/v1/dir"
	PathLogs    = "/v1/logs"
	PathUsage   = "/v1/usage"
	PathDial    = "/v1/dial"
	PathJob     = "/v1/job"
	PathJobs    = "/v1/jobs"
	PathSearch  = "/v1/search"
	PathUpload  = "/v1/upload"
	PathTar     = "/v1/tar"

	PathTerminal = "/v1/terminal"
)

// Limits that both sides keep.
const (
	MaxFile        = 10 << 20          // bytes of one file through a tool
	MaxTransfer    = 1 << 50           // largest max of a file or home that comes as a stream
	MaxRead        = 1 << 20           // bytes of one answer of GET /v1/file
	MaxPiece       = 1 << 20           // bytes of a piece that is replaced, and of what takes its place
	MaxEntries     = 2000              // of one directory listing
	MaxMatches     = 1000              // of one search
	MaxQuery       = 1000              // bytes of what is searched for, and of a glob
	MaxLines       = 1000              // of one logs answer, and of one Event
	MaxExecTimeout = 280 * time.Second // of one command
	MaxJobTimeout  = 24 * time.Hour    // of one in the background
	MaxJobWait     = time.Minute       // of one answer for the end of a job
	MaxJobOutput   = 1 << 18           // bytes of a job's output in one answer
	MaxJobs        = 100               // kept, the running ones among them
	MaxJobCommand  = 1000              // bytes of a job's command that are repeated
	MaxLineBytes   = 8 << 10           // of one log line; longer ones are split
	TailLines      = 20                // of a Fault or a State
	LeastFile      = 4 << 10           // bytes of the disk that each file and folder counts for at least
)

// Absent is the was of a file that is not there yet.
const Absent = "absent"

// TrailerFault is the trailer of an answer that went wrong after its status was
// sent: a Fault as JSON.
const TrailerFault = "X-Fault"

// OwnPrefix begins the names in the home that are the agent's: its logs if they
// are there, and what it has not yet brought to its place.
const OwnPrefix = ".podgate"

// ForDeploy is the path of an archive that came for one deploy and is of no use after
// it. The next life of the pod clears it away. id is one that no other has.
func ForDeploy(id string) string { return ForDeployPrefix + id + ".tar.gz" }

// ForDeployPrefix begins all of these paths.
const ForDeployPrefix = "/home/pod/" + OwnPrefix + "-deploy-"

// Fault is why the agent refused. Code is one of the Fault… constants.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"` // for a person; says what to do
	// Lines is what was printed last, at most TailLines, when something that ran failed.
	Lines []LogLine `json:"lines,omitempty"`
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
	FaultExists       = "exists"        // what would be replaced
	FaultChanged      = "changed"       // what was read is not there any more
	FaultStale        = "stale"         // what was to be replaced is something else
	FaultNotListening = "not_listening" // nothing accepts on that port
	FaultNotRunning   = "app_not_running"
	FaultBusy         = "busy"   // too many at once; try again later
	FaultEnded        = "ended"  // what runs in the pod was ended meanwhile
	FaultFailed       = "failed" // anything else; Message says what
)

// AppSpec is what the agent must know about the app it supervises. The server
// sends it with every start, so nothing of it is kept in the pod.
type AppSpec struct {
	Preset string            `json:"preset"` // the name of one, such as static
	Port   int               `json:"port"`   // told to the app as $PORT
	Env    map[string]string `json:"env,omitempty"`
	Name   string            `json:"name"`          // of the pod; for the welcome page and $PODGATE_NAME
	URL    string            `json:"url,omitempty"` // for the welcome page and $PODGATE_URL
	// Release is the folder in /home/pod/releases that the app folder leads to, as
	// far as it is there; 0 for an app that was never deployed, whose folder is one
	// itself.
	Release int `json:"release,omitempty"`
}

// DeployRequest makes an app in a folder of its own, /home/pod/releases/Release,
// beside the one that runs, and lets it take that one's place once it is ready. When
// it does not answer then, what ran before comes back.
//
// Its source is Git, or Archive, or what PUT /v1/release brought, and Kept says that
// the folder is that of an earlier deploy, which is neither filled nor installed.
type DeployRequest struct {
	Release int     `json:"release"`
	Spec    AppSpec `json:"spec"`   // an empty Preset is guessed, and a Port of 0 is then that preset's
	Before  AppSpec `json:"before"` // what runs now
	Git     *Git    `json:"git,omitempty"`
	Archive string  `json:"archive,omitempty"` // path of a tar or tar.gz
	Kept    bool    `json:"kept,omitempty"`
	Max     int64   `json:"max"`  // bytes that the source may take on the disk
	Keep    []int   `json:"keep"` // earlier releases that are not deleted after a success
	// WaitMillis is how long the app may take to answer.
	WaitMillis int `json:"wait_millis"`
}

// Deployed is a deploy that succeeded.
type Deployed struct {
	Preset string    `json:"preset"`
	Commit string    `json:"commit,omitempty"` // of git, in hex
	State  State     `json:"state"`
	Answer *Answer   `json:"answer,omitempty"` // nil when nothing of HTTP came back
	Lines  []LogLine `json:"lines,omitempty"`  // what it printed last, when Answer is none or an error of its own
}

// Answer is what GET / of an app gave.
type Answer struct {
	Status int    `json:"status"`
	Type   string `json:"type,omitempty"`  // Content-Type
	Start  string `json:"start,omitempty"` // of the body, when it is text
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
	Restarts int       `json:"restarts"`         // since the pod started, without those asked for
	Deaths   int       `json:"deaths,omitempty"` // in a row, until it has lived for a good while
	Started  time.Time `json:"started,omitzero"`
	NextTry  time.Time `json:"next_try,omitzero"`
	Tail     []LogLine `json:"tail,omitempty"` // last lines when waiting or failed
	LastExit *LastExit `json:"last_exit,omitempty"`
	Workers  []Worker  `json:"workers,omitempty"`
	Crons    []Cron    `json:"crons,omitempty"`
}

// LastExit is how the app ended last, when nobody had asked it to.
type LastExit struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"` // for a person
}

// Worker is a process that is kept running beside the app.
type Worker struct {
	Name     string    `json:"name"`
	State    string    `json:"state"` // one of AppRunning, AppWaiting and AppFailed
	Reason   string    `json:"reason,omitempty"`
	Restarts int       `json:"restarts"`
	Started  time.Time `json:"started,omitzero"`
	NextTry  time.Time `json:"next_try,omitzero"`
}

// Cron is a command that runs at times beside the app.
type Cron struct {
	When    string    `json:"when"` // such as 0 3 * * *, in UTC
	Command string    `json:"command"`
	Running bool      `json:"running,omitempty"`
	Next    time.Time `json:"next,omitzero"`
	Last    *CronRun  `json:"last,omitempty"`
}

// CronRun is how a command ended that ran at its time.
type CronRun struct {
	Began  time.Time `json:"began"`
	Ended  time.Time `json:"ended"`
	Result string    `json:"result"` // for a person, such as exited with code 0
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
	Stream   string    `json:"stream,omitempty"` // stdout, stderr, or install
	Data     []byte    `json:"data,omitempty"`
	Lines    []LogLine `json:"lines,omitempty"`
	Lost     int64     `json:"lost,omitempty"`     // lines after Lines that were not taken in time
	Exit     *Exit     `json:"exit,omitempty"`     // last event of an exec
	State    *State    `json:"state,omitempty"`    // last event of an app action; each one when states are followed
	Deployed *Deployed `json:"deployed,omitempty"` // last event of a deploy
	Fault    *Fault    `json:"fault,omitempty"`    // last event when it went wrong after the status was sent
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

// JobRequest runs one command as ExecRequest does, but detached from the request.
// Its two streams are one, as on a terminal.
type JobRequest struct {
	Command       string            `json:"command"`
	Dir           string            `json:"dir,omitempty"` // default: the app folder
	Env           map[string]string `json:"env,omitempty"`
	Stdin         []byte            `json:"stdin,omitempty"`
	TimeoutMillis int               `json:"timeout_millis,omitempty"` // at most MaxJobTimeout; 0 is none
}

// The states of a job.
const (
	JobRunning     = "running"
	JobExited      = "exited"      // by itself
	JobStopped     = "stopped"     // on request
	JobTimedOut    = "timed_out"   // its time was up
	JobInterrupted = "interrupted" // with the pod, or with all else that ran in it
)

// Job is a command in the background. It is kept for a day after its end, as
// long as there are no more than MaxJobs.
type Job struct {
	ID      string    `json:"id"`
	Command string    `json:"command"` // its beginning
	Dir     string    `json:"dir"`
	State   string    `json:"state"`
	Reason  string    `json:"reason,omitempty"` // of an end that was not its own, for a person
	Code    int       `json:"code"`             // 128+n when killed by signal n; only once it has ended
	Signal  string    `json:"signal,omitempty"` // such as SIGKILL
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Output  int64     `json:"output"`         // bytes of what it printed, with those that are not kept any more
	Lost    int64     `json:"lost,omitempty"` // bytes that it printed while the disk was full
}

// JobOutput is a job and a part of what it printed. The beginning and the newest
// is kept, so that Offset can be behind what was asked for.
type JobOutput struct {
	Job    Job    `json:"job"`
	Offset int64  `json:"offset"` // of Data
	Data   []byte `json:"data"`
}

// FileInfo is one file or directory entry.
type FileInfo struct {
	Name     string    `json:"name"` // base name; in answers about one path the cleaned absolute path
	Type     string    `json:"type"` // file, dir, symlink, other
	Size     int64     `json:"size"`
	Mode     string    `json:"mode"` // permission bits in octal, such as 0644
	Modified time.Time `json:"modified"`
	Target   string    `json:"target,omitempty"` // of a symlink
}

// MoveRequest gives a file, folder or link another name. Missing folders on the
// way to the new name are made.
type MoveRequest struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Overwrite bool   `json:"overwrite,omitempty"` // replaces a file or a link, never a folder
}

// EditRequest replaces a piece of a text file, which must stand there exactly
// once, or with All at least once.
type EditRequest struct {
	Path string `json:"path"`
	Old  string `json:"old"`
	New  string `json:"new"`
	All  bool   `json:"all,omitempty"`
	Grow int64  `json:"grow"` // by how many bytes the file may become longer
}

// Edited is a file after an EditRequest.
type Edited struct {
	FileInfo
	Replaced int   `json:"replaced"`
	Lines    []int `json:"lines"` // where the first of the new pieces begin, in the file as it is now
}

// Received is how much of an upload has come.
type Received struct {
	Size int64 `json:"size"` // bytes
}

// FinishRequest brings an upload of which all has come to its place.
type FinishRequest struct {
	ID     string `json:"id"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`             // bytes that must have come
	Mode   uint32 `json:"mode,omitempty"`   // permission bits of a file; 0: as it was, else 0644
	Unpack bool   `json:"unpack,omitempty"` // it is a tar or tar.gz, and path the folder for what is in it
	Max    int64  `json:"max,omitempty"`    // bytes on the disk of what is unpacked
}

// Finished is what has become of an upload.
type Finished struct {
	FileInfo
	Imported
}

// Listing answers GET /v1/dir: what lies in a folder by name, or when recursive
// all that lies below it, each folder before what is in it.
type Listing struct {
	Path    string     `json:"path"`
	Entries []FileInfo `json:"entries"` // named relative to Path
	Walk
}

// Found answers GET /v1/search.
type Found struct {
	Path    string  `json:"path"`
	Matches []Match `json:"matches"`
	Files   int     `json:"files"`            // that were looked into
	Binary  int     `json:"binary,omitempty"` // that were not, since they are no text
	Walk
}

// Match is one line.
type Match struct {
	Path string `json:"path"` // relative to that of the answer
	Line int    `json:"line"` // from 1
	Text string `json:"text"` // a part of the line, when it is long
}

// Walk is how a walk through files ended.
type Walk struct {
	Cut     bool     `json:"cut,omitempty"`     // there may be more
	Cursor  string   `json:"cursor,omitempty"`  // with which to go on when cut
	Skipped []string `json:"skipped,omitempty"` // the first folders and files that were left out
}

// Imported is what a new home came to.
type Imported struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"`
	Skipped int   `json:"skipped,omitempty"` // neither files, folders nor links
}

// LogLine is one line that the app, an install or the agent wrote.
type LogLine struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source"` // app, agent, install, worker, cron
	Stream string    `json:"stream"` // stdout, stderr
	Text   string    `json:"text"`
}

// Usage is what the pod uses, seen from inside.
type Usage struct {
	Memory    int64   `json:"memory"` // bytes that no file backs; what processes share counts once
	CPU       float64 `json:"cpu"`    // seconds used since the pod started
	Processes int     `json:"processes"`
	Disk      int64   `json:"disk"` // bytes in the home, measured at most every few seconds
}
