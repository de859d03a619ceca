package history

import (
	"strings"

	"podgate/store"
)

// again is the advice that mends what a client remembers wrongly.
const again = "Remove the connector in the assistant and add it again."

// refused reads the most recent step when it was refused.
func (c diagnosed) refused() Diagnosis {
	switch c.last.Fault {
	case FaultRateLimited:
		return Diagnosis{Refused, "Too many requests came from one address, so some were refused.", "Wait a minute and try again.",
			"Usually a client repeats itself in a loop, or all clients seem to have one address because trusted_proxies does not name the proxy."}
	case FaultServer:
		return Diagnosis{State: Refused, What: "Something went wrong on this server.", Next: "Its log says what. Then try again."}
	}
	of := map[string]func(diagnosed) Diagnosis{
		StepRegister: diagnosed.refusedRegistration, StepMetadata: diagnosed.refusedMetadata, StepAuthorize: diagnosed.refusedAuthorization,
		StepSignedIn: diagnosed.refusedSignIn, StepCode: diagnosed.refusedCode, StepRefresh: diagnosed.refusedRefresh, StepCall: diagnosed.refusedCall,
	}
	if read, ok := of[c.last.Kind]; ok {
		return read(c)
	}
	return Diagnosis{State: Refused, What: "A request was refused.", Next: again}
}

func (c diagnosed) refusedRegistration() Diagnosis {
	switch c.last.Fault {
	case FaultRegistrationOff:
		return Diagnosis{Refused, "The client wanted to register itself, which this server does not allow.", "An administrator can allow it: oauth.registration = \"open\".", ""}
	case FaultRedirect:
		return Diagnosis{Refused, "The client offered no redirect URI that can be used, so it could not register.", "It has to offer one with https, or with http on localhost.",
			"Usually it wants a scheme of its own; an administrator can allow that with oauth.redirect_schemes."}
	}
	return Diagnosis{Refused, "The client's registration was not understood.", "It has to send its metadata as a JSON object.", "Usually a newer version of the client helps."}
}

func (c diagnosed) refusedMetadata() Diagnosis {
	return Diagnosis{Refused, "The metadata document that the client's id names could not be used.", "The client has to publish it at that address.",
		"Usually this server cannot reach the internet, or the document is gone. podgate doctor looks."}
}

func (c diagnosed) refusedAuthorization() Diagnosis {
	switch c.last.Fault {
	case FaultMissing:
		return Diagnosis{Refused, "The client opened the browser without everything that a request needs.", again,
			"Usually the client is too old for this kind of sign-in, or the link was copied incompletely."}
	case FaultUnknownClient:
		return Diagnosis{Refused, "It uses a client id that this server no longer knows.", again,
			"Clients remember an id for months; servers forget those that were not used."}
	case FaultBlockedClient:
		return Diagnosis{Refused, "An administrator does not let this app connect.", "An administrator can let it in again.", ""}
	case FaultRedirect:
		return Diagnosis{Refused, "It wants the answer sent to an address that it has not registered.", again,
			"Usually its address or port has changed since it registered. If you did not start this, somebody tried to get at your access."}
	case FaultRequestOver:
		return Diagnosis{Refused, "A decision came for a request that was over.", "Connect again.",
			"Usually the page was open for more than half an hour, was sent twice, or was opened in another browser."}
	case FaultRegistrationOff:
		return Diagnosis{Refused, "It is described by a document that is not among those which this server lets in.",
			"An administrator can let it in: oauth.registration = \"open\".", ""}
	case FaultPKCE:
		return Diagnosis{Refused, "It asked without PKCE (S256), which protects the answer on its way.", "The client has to use it; a newer version may.", ""}
	case FaultResource:
		return Diagnosis{Refused, "It asked for another resource than the URL typed.", "Remove the connector and add it again with the address that the home page shows.",
			"Usually the address was typed with another name or path, or public_url is not the address that people use."}
	case FaultResponseType:
		return Diagnosis{Refused, "It asked for another kind of answer than an authorization code.", "The client has to ask with response_type=code.", ""}
	}
	return Diagnosis{Refused, "The client's authorization request was not well-formed.", again, ""}
}

func (c diagnosed) refusedSignIn() Diagnosis {
	return c.pending(personTime, "The sign-in failed.", "The address and the password have to belong together.",
		"If the password is forgotten, podgate user passwd sets a new one.")
}

func (c diagnosed) refusedCode() Diagnosis {
	switch c.last.Fault {
	case FaultUnknownClient:
		return Diagnosis{Refused, "It uses a client id that this server no longer knows.", again, ""}
	case FaultBlockedClient:
		return Diagnosis{Refused, "An administrator does not let this app connect.", "An administrator can let it in again.", ""}
	case FaultExpiredCode:
		return Diagnosis{Refused, "The client came for its token after the code had run out.", "Connect again; it has ten minutes.",
			"Usually the clocks differ, or the code was copied by hand and that took long."}
	case FaultSpentCode:
		return Diagnosis{Refused, "The same code was redeemed twice, so what the first time gave was taken back.", "Connect again.",
			"Usually a client repeats its request when an answer is slow. If it happens again, somebody may be reading along."}
	case FaultVerifier:
		return Diagnosis{Refused, "The client's proof (code_verifier) does not belong to the request that was approved.", "Connect again, in one window only.",
			"Usually two attempts ran at the same time and the client mixed them up."}
	case FaultRedirect:
		return Diagnosis{Refused, "The client came for its token with another redirect URI than the one it asked with.", again, "Usually two attempts ran at the same time."}
	case FaultResource:
		return Diagnosis{Refused, "It asked for a token for another resource than the URL typed.", "Remove the connector and add it again with the address that the home page shows.", ""}
	case FaultNotMember:
		return Diagnosis{Refused, "The person is no longer in the team that the client was approved for.", "Connect again and choose another team.", ""}
	case FaultUnknownCode:
		return Diagnosis{Refused, "The client came with a code that this server does not know.", "Connect again.", "Usually the code is more than ten minutes old, or another attempt has replaced it."}
	case FaultGrantType:
		return Diagnosis{Refused, "The client asked for a token in a way that this server does not offer.", "Its metadata names the ways that there are.", ""}
	}
	return Diagnosis{Refused, "The client's token request was not well-formed.", again, ""}
}

func (c diagnosed) refusedRefresh() Diagnosis {
	switch c.last.Fault {
	case FaultReusedRefresh:
		return Diagnosis{Refused, "An old refresh token was used again, so the connection was revoked.", "Connect again.",
			"Usually the client or this server was restored from a copy, or the client runs twice with one memory. If neither is so, somebody may have stolen the token."}
	case FaultExpiredRefresh:
		return Diagnosis{Refused, "The client was silent for so long that its access ran out.", "Connect again.", ""}
	case FaultScope:
		return Diagnosis{Refused, "The client wanted more at a refresh than was approved.", "It has to open a browser for that.", ""}
	case FaultUnknownClient:
		return Diagnosis{Refused, "It uses a client id that this server no longer knows.", again, ""}
	case FaultBlockedClient:
		return Diagnosis{Refused, "An administrator does not let this app connect, and its connections have ended.", "An administrator can let it in again.", ""}
	case FaultForeignRefresh:
		return Diagnosis{Refused, "The client came with the refresh token of another registration.", "Connect again.",
			"Usually it registered anew and kept what it had before. If this was not you, somebody has that token: revoke the connection."}
	case FaultUnknownRefresh:
		if ended(c.Attempt) {
			return Diagnosis{Refused, "The connection was revoked, and the client tried to renew it.", "It should have opened a browser; else " + lower(again), ""}
		}
		return Diagnosis{Refused, "The client came with a refresh token that this server does not know.", "Connect again.", "Usually the connection was revoked, or its access ran out."}
	}
	return Diagnosis{Refused, "The client could not renew its access.", "Connect again.", ""}
}

func (c diagnosed) refusedCall() Diagnosis {
	switch c.last.Fault {
	case FaultInsufficientScope:
		return Diagnosis{Refused, "A call needed " + orElse(c.last.Detail, "more") + ", which this connection was not given. The rest works.",
			"The client should ask for it in a browser; else connect again and leave it ticked.", ""}
	case FaultExpiredToken:
		return Diagnosis{Refused, "The access ran out, and the client went on with the old token.", "It should have renewed it or opened a browser.",
			"Usually it did not keep the refresh token. Connect again."}
	case FaultRevokedToken:
		return Diagnosis{Refused, "The connection was revoked, and the client went on with the old token.", "It should have opened a browser; else " + lower(again), ""}
	case FaultResource:
		return Diagnosis{Refused, "It called with a token from when this server had another address.", "Connect again.", "public_url was changed since."}
	case FaultNotMember:
		return Diagnosis{Refused, "The person is no longer in the team that the connection is for.", "Connect again and choose another team.", ""}
	}
	return Diagnosis{Refused, "It called with a token that opens nothing here: unknown, run out long ago, or revoked.", "It should have opened a browser; else " + lower(again),
		"Usually the connection was ended here and the client does not notice."}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func lower(s string) string { return string(s[0]|0x20) + s[1:] }

// Words says in a few words what a step was.
func Words(s store.Step) string {
	if s.Fault != "" {
		return refusalWords(s)
	}
	words := map[string]string{
		StepChallenge: "Called without a token; told where to sign in", StepDiscovery: "Read the", StepRegister: "Registered itself",
		StepMetadata: "This server read the client's metadata document", StepAuthorize: "Opened the browser", StepSignIn: "Sign-in page shown",
		StepSignedIn: "Signed in", StepConsent: "Consent page shown", StepApprove: "Approved", StepDeny: "Denied", StepCode: "Got its token",
		StepRefresh: "Renewed its token", StepCall: "Called with its token", StepRevoke: "Connection revoked",
	}
	text := orElse(words[s.Kind], s.Kind)
	if s.Kind == StepChallenge && s.Detail == DetailCameBack {
		return "Called again, with a token that is good"
	}
	if s.Kind == StepMetadata && s.Detail != "" {
		return strings.TrimSuffix(s.Detail, ".") // a copy was used
	}
	if s.Detail != "" && (s.Kind == StepRegister || s.Kind == StepApprove || s.Kind == StepChallenge) {
		return text + ": " + s.Detail
	}
	return text + space(s.Detail)
}

// refusalWords says what was refused and why.
func refusalWords(s store.Step) string {
	words := map[string]string{
		StepRegister: "Registration refused", StepMetadata: "Metadata document not usable", StepAuthorize: "Authorization refused",
		StepSignedIn: "Sign-in failed", StepCode: "Token refused", StepRefresh: "Renewal refused", StepCall: "Call refused",
	}
	text := orElse(words[s.Kind], s.Kind+" refused") + " (" + s.Fault + ")"
	if s.Fault == FaultServer { // nobody said no
		text = strings.Replace(text, " refused ", " failed ", 1)
	}
	if s.Detail != "" {
		text += ": " + s.Detail
	}
	return text
}

// auditWords are what was done, and what was tried, as the end of a sentence
// that begins with who it was.
func auditWords() map[store.AuditAction][2]string {
	return map[store.AuditAction][2]string{
		AuditSetup: {"set this server up", "set this server up"}, AuditSetupLink: {"made a setup link", "make a setup link"}, AuditBackup: {"copied the server into a backup", "copy the server into a backup"},
		AuditUpgrade: {"had another program take over", "have another program take over"},
		AuditSignIn:  {"signed in", "sign in"}, AuditSignOut: {"signed out", "sign out"}, AuditEndSession: {"ended a session", "end a session"},
		AuditEverywhere: {"logged out everywhere", "log out everywhere"}, AuditPassword: {"changed the password", "change the password"},
		AuditProve: {"proved anew who it is", "prove anew who it is"}, AuditPasskeyAdd: {"added a passkey", "add a passkey"},
		AuditPasskeyName: {"named a passkey", "name a passkey"}, AuditPasskeyRemove: {"removed a passkey", "remove a passkey"},
		AuditApprove: {"approved a connection", "approve a connection"}, AuditDeny: {"denied a connection", "deny a connection"},
		AuditToken: {"got a token", "get a token"}, AuditRefresh: {"renewed a token", "renew a token"},
		AuditTokenRevoke: {"revoked a token", "revoke a token"}, AuditRevoke: {"revoked a connection", "revoke a connection"},
		AuditLimit: {"changed a connection", "change a connection"}, AuditUserAdd: {"added an account", "add an account"},
		AuditUserRemove: {"removed an account", "remove an account"}, AuditUserPassword: {"set a password", "set a password"},
		AuditTeamAdd: {"added a team", "add a team"}, AuditMemberAdd: {"put somebody into a team", "put somebody into a team"},
		AuditMemberRemove: {"took somebody out of a team", "take somebody out of a team"}, AuditTool: {"used", "use"},
		AuditTerminal: {"opened a terminal in", "open a terminal in"}, AuditTerminalEnd: {"left a terminal in", "leave a terminal in"},
		AuditPod:            {"did with a pod", "do with a pod"},
		AuditTeamNetwork:    {"changed what a team's pods may reach", "change what a team's pods may reach"},
		AuditPodExport:      {"copied a pod into a file", "copy a pod into a file"},
		AuditPodImport:      {"made a pod of a file", "make a pod of a file"},
		AuditPodNetwork:     {"changed what a pod may reach", "change what a pod may reach"},
		AuditInvite:         {"invited somebody", "invite somebody"},
		AuditInviteWithdraw: {"withdrew an invitation", "withdraw an invitation"},
		AuditInviteAccept:   {"accepted an invitation", "accept an invitation"},
		AuditRole:           {"changed a role", "change a role"}, AuditLeave: {"left a team", "leave a team"},
		AuditTeamRename: {"renamed a team", "rename a team"}, AuditTeamRemove: {"removed a team", "remove a team"},
		AuditTeamPolicy:  {"changed what a team's connections may do", "change what a team's connections may do"},
		AuditTeamQuota:   {"changed what a team may have", "change what a team may have"},
		AuditNickname:    {"named a connection", "name a connection"},
		AuditClientBlock: {"blocked an app", "block an app"}, AuditClientUnblock: {"let an app in again", "let an app in again"},
		AuditClientForget: {"forgot an app", "forget an app"}, AuditAdmin: {"changed who administers the server", "change who administers the server"},
		AuditReusedCode: {"used a code twice", "use a code twice"}, AuditReusedRefresh: {"used an old refresh token", "use an old refresh token"},
		AuditPodFiles:      {"changed a pod's files", "change a pod's files"},
		AuditPodEnv:        {"changed a pod's environment", "change a pod's environment"},
		AuditPodJob:        {"ran or stopped a command in a pod", "run or stop a command in a pod"},
		AuditPodEvict:      {"gave up a deleted pod for good, to make room", "give up a deleted pod"},
		AuditSnapshotEvict: {"deleted a snapshot, to make room", "delete a snapshot"},
		store.AuditLost:    {"could not keep everything: too much happened at once", ""},
	}
}

// AuditWords says what an entry tells, as the end of a sentence that begins with
// who did it.
func AuditWords(e store.AuditEntry) string {
	words, known := auditWords()[e.Action]
	switch {
	case !known:
		return string(e.Action)
	case e.Outcome == store.AuditOK:
		return words[0]
	}
	return "could not " + words[1]
}
