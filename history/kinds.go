package history

// The kinds of steps.
const (
	StepChallenge = "challenge" // a call without a token: told where to go
	StepDiscovery = "discovery" // read one of the two documents
	StepRegister  = "register"
	StepMetadata  = "metadata" // this server fetched the client's document
	StepAuthorize = "authorize"
	StepSignIn    = "sign_in"   // the sign-in page was shown
	StepSignedIn  = "signed_in" // or was refused
	StepConsent   = "consent"   // the consent page was shown
	StepApprove   = "approve"
	StepDeny      = "deny"
	StepCode      = "code" // redeemed, or refused
	StepRefresh   = "refresh"
	StepCall      = "call"
	StepRevoke    = "revoke"
)

// Why a step was refused.
const (
	FaultRateLimited       = "rate_limited"
	FaultMalformed         = "malformed"
	FaultServer            = "server_error"
	FaultMissing           = "missing_parameters"
	FaultUnknownClient     = "unknown_client"
	FaultBlockedClient     = "blocked_client"
	FaultRedirect          = "redirect_uri"
	FaultPKCE              = "pkce"
	FaultResource          = "resource"
	FaultResponseType      = "response_type"
	FaultRequestOver       = "request_over" // decided, expired or of another browser
	FaultRegistrationOff   = "registration_off"
	FaultMetadata          = "client_metadata"
	FaultCredentials       = "credentials"
	FaultUnknownCode       = "unknown_code"
	FaultExpiredCode       = "expired_code"
	FaultSpentCode         = "spent_code"
	FaultVerifier          = "verifier"
	FaultGrantType         = "grant_type"
	FaultUnknownRefresh    = "unknown_refresh"
	FaultExpiredRefresh    = "expired_refresh"
	FaultReusedRefresh     = "reused_refresh"
	FaultForeignRefresh    = "foreign_refresh" // another client's
	FaultScope             = "scope"
	FaultNotMember         = "not_member"
	FaultUnknownToken      = "unknown_token"
	FaultExpiredToken      = "expired_token"
	FaultRevokedToken      = "revoked_token"
	FaultInsufficientScope = "insufficient_scope"
)

// Details that this package and its callers agree on.
const (
	DetailCameBack = "came back with a token"             // of StepChallenge
	DetailReplaced = "because a newer one took its place" // of StepRevoke

	DetailNoRegistration = "that offers no registration" // of StepDiscovery

	detailAsked, detailNotAs = "asked for as ", " instead of "
)

// Elsewhere is the detail of StepChallenge and StepDiscovery for a client that
// came under a name (a Host header) which is not the server's own, whose address
// is given with it. Clients stop at that (RFC 9728 section 3.3).
func Elsewhere(host, address string) string { return detailAsked + host + detailNotAs + address }
