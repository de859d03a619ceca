package history

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
	"unicode/utf8"

	"podgate/internal/ratelimit"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
)

// writeEvery is how often what was recorded is written.
const writeEvery = time.Second

// Config is what a Recorder needs. DB and Now are required.
type Config struct {
	DB  *store.DB
	Log *slog.Logger
	Now func() time.Time
	// TrustedProxies may say in X-Forwarded-For where a request came from.
	TrustedProxies []netip.Prefix
	// Counted hears what was done, and whether it was let through. nil: nobody counts.
	Counted func(action store.AuditAction, ok bool)
}

// Recorder takes steps and audit entries. It is safe for concurrent use. A nil
// Recorder records nothing, which is what tests of other things want.
type Recorder struct {
	db         *store.DB
	log        *slog.Logger
	now        func() time.Time
	trusted    []netip.Prefix
	correlator correlator
	calls      calls
	counted    func(store.AuditAction, bool)
}

// New returns a Recorder over c.DB. What it records is written by Run, by any
// reader and when the store is closed.
func New(c Config) *Recorder {
	r := &Recorder{db: c.DB, log: c.Log, now: c.Now, trusted: c.TrustedProxies, counted: c.Counted}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r
}

// Run writes what was recorded about once a second until ctx ends, and then
// once more.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	said := "" // a full disk is not news every second
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		err := r.db.FlushHistory()
		if err == nil {
			said = ""
		} else if said != err.Error() {
			said = err.Error()
			r.log.Error("timeline and audit entries could not be written", "error", err)
		}
	}
}

// Visitor is where a request came from, as far as can be told.
type Visitor struct {
	net   string // the address, an IPv6 one by its /64
	addr  string // for people
	agent string // User-Agent, cleaned
}

// Visitor returns who sent a request.
func (r *Recorder) Visitor(req *http.Request) Visitor {
	if r == nil {
		return Visitor{}
	}
	addr := web.ClientAddr(req, r.trusted)
	v := Visitor{agent: text.Field(req.UserAgent(), maxAgent)}
	if addr.IsValid() {
		v.net, v.addr = ratelimit.AddrKey(addr), addr.Unmap().WithZone("").String()
	}
	return v
}

// key tells visitors apart. It is a hash so that it is short whatever was sent.
func (v Visitor) key() string {
	if v == (Visitor{}) {
		return ""
	}
	agent := v.agent
	if isDoctor(agent) {
		agent = doctorAgent // it calls itself by the names of clients too
	}
	sum := sha256.Sum256([]byte(v.net + "\n" + agent))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Bounds of text from outside, in bytes.
const (
	maxAgent  = 120
	maxDetail = 200
	maxName   = 60 * utf8.UTFMax
)

// What was done, in the audit list.
const (
	AuditSetup          store.AuditAction = "setup"
	AuditSetupLink      store.AuditAction = "setup_link"
	AuditBackup         store.AuditAction = "backup"
	AuditUpgrade        store.AuditAction = "upgrade"
	AuditSignIn         store.AuditAction = "sign_in"
	AuditSignOut        store.AuditAction = "sign_out"
	AuditEndSession     store.AuditAction = "end_session"
	AuditEverywhere     store.AuditAction = "log_out_everywhere"
	AuditPassword       store.AuditAction = "change_password"
	AuditProve          store.AuditAction = "prove"
	AuditPasskeyAdd     store.AuditAction = "add_passkey"
	AuditPasskeyName    store.AuditAction = "name_passkey"
	AuditPasskeyRemove  store.AuditAction = "remove_passkey"
	AuditApprove        store.AuditAction = "approve"
	AuditDeny           store.AuditAction = "deny"
	AuditToken          store.AuditAction = "issue_token"
	AuditRefresh        store.AuditAction = "refresh_token"
	AuditTokenRevoke    store.AuditAction = "revoke_token"
	AuditRevoke         store.AuditAction = "revoke_connection"
	AuditLimit          store.AuditAction = "change_connection"
	AuditUserAdd        store.AuditAction = "add_user"
	AuditUserRemove     store.AuditAction = "remove_user"
	AuditUserPassword   store.AuditAction = "set_password"
	AuditTeamAdd        store.AuditAction = "add_team"
	AuditMemberAdd      store.AuditAction = "add_member"
	AuditMemberRemove   store.AuditAction = "remove_member"
	AuditTeamNetwork    store.AuditAction = "set_team_network"
	AuditPodNetwork     store.AuditAction = "set_pod_network"
	AuditPodExport      store.AuditAction = "export_pod"
	AuditPodImport      store.AuditAction = "import_pod"
	AuditPod            store.AuditAction = "change_pod" // at a page; the object says what
	AuditInvite         store.AuditAction = "invite"
	AuditInviteWithdraw store.AuditAction = "withdraw_invitation"
	AuditInviteAccept   store.AuditAction = "accept_invitation"
	AuditRole           store.AuditAction = "change_role"
	AuditLeave          store.AuditAction = "leave_team"
	AuditTeamRename     store.AuditAction = "rename_team"
	AuditTeamRemove     store.AuditAction = "remove_team"
	AuditTeamPolicy     store.AuditAction = "set_team_policy"
	AuditTeamQuota      store.AuditAction = "set_team_quota"
	AuditNickname       store.AuditAction = "name_connection"
	AuditClientBlock    store.AuditAction = "block_client"
	AuditClientUnblock  store.AuditAction = "unblock_client"
	AuditClientForget   store.AuditAction = "forget_client"
	AuditAdmin          store.AuditAction = "change_administrator"
	AuditTool           store.AuditAction = "tool"
	AuditTerminal       store.AuditAction = "terminal"
	AuditTerminalEnd    store.AuditAction = "terminal_end"
	AuditReusedCode     store.AuditAction = "code_used_twice"
	AuditReusedRefresh  store.AuditAction = "refresh_token_used_twice"
)

// What people do to a pod, in the audit list.
const (
	AuditPodFiles store.AuditAction = "change_pod_files"
	AuditPodEnv   store.AuditAction = "set_pod_env"
	AuditPodJob   store.AuditAction = "run_pod_job"
)

// What the server does by itself to make room, in the audit list.
const (
	AuditPodEvict      store.AuditAction = "evict_pod"
	AuditSnapshotEvict store.AuditAction = "evict_snapshot"
)

// Itself is the name of the actor where the server acts by itself.
const Itself = "podgate"

// CommandLine is the name of the actor who gave a command.
const CommandLine = "command line"

// maxAuditText bounds each text of an entry, in bytes.
const maxAuditText = 200

// Audit records an entry. Its time is now; from is where it came from, the zero
// Visitor for a command line. An empty Outcome is success.
func (r *Recorder) Audit(from Visitor, e store.AuditEntry) {
	if r == nil {
		return
	}
	e.At, e.Addr = r.now(), from.addr
	if e.Outcome == "" {
		e.Outcome = store.AuditOK
	}
	e.Stranger = e.Actor == "" && e.ActorName != CommandLine && e.ActorName != Itself
	e.Object, e.Outcome, e.Client = text.Field(e.Object, maxAuditText), text.Field(e.Outcome, maxAuditText), text.Field(e.Client, maxAuditText)
	e.ActorName, e.Claimed = text.Field(e.ActorName, maxAuditText), text.Field(e.Claimed, maxName)
	if r.counted != nil {
		r.counted(e.Action, e.Outcome == store.AuditOK)
	}
	r.db.NoteAudit(e)
}
