package account

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"podgate/internal/trace"
	"podgate/store"
)

const (
	// MaxPasskeyAnswer bounds what a browser sends of a passkey, in bytes.
	MaxPasskeyAnswer = 16 << 10
	// maxPublicKey bounds a passkey's public part, in bytes: one of RSA with 4096 bits
	// has some 530. Whoever adds a larger one would make each check of it dear.
	maxPublicKey = 1024
	// maxPasskeyID is that of WebAuthn, section 4, «Credential ID».
	maxPasskeyID = 1023
	maxHandle    = 64

	// FreshFor is how long after a proof of who they are a person may change with what
	// they sign in.
	FreshFor = 10 * time.Minute
)

// ErrPasskey is the reason when a passkey proves nothing, ErrProof that the person has
// to prove anew who they are.
var (
	ErrPasskey = errors.New("account: the passkey proves nothing")
	ErrProof   = errors.New("account: no fresh proof")
)

// Site is where a browser has the pages: passkeys belong to a host, and say in what
// they sign from which origin they were asked.
type Site struct {
	Host   string // without port
	Origin string // scheme://host[:port]
}

// passkeyKinds are the signatures that a passkey may make: those that every
// authenticator in use has one of.
var passkeyKinds = []webauthncose.COSEAlgorithmIdentifier{webauthncose.AlgEdDSA, webauthncose.AlgES256, webauthncose.AlgRS256}

// NewPasskey is what a browser has to be told to make a passkey.
type NewPasskey struct {
	Challenge string   // base64url without padding, as all others
	Handle    string   // of the person
	Kinds     []int    // of signatures, the preferred first (RFC 9053)
	Exclude   []string // ids of passkeys that the person has, of which no device should make a second one
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// PasskeyToSignIn returns the challenge of a page at which somebody can sign in.
func (s *Service) PasskeyToSignIn() string {
	return s.challenges.make(toSignIn, s.now())
}

// PasskeyToProve returns the challenge of a page at which the person of a session can
// prove anew who they are, and the ids of the passkeys that do, on that site.
func (s *Service) PasskeyToProve(session store.Session, site Site) (challenge string, ids []string, err error) {
	list, err := s.db.Passkeys(session.User)
	for _, p := range list {
		if p.Site == site.Host {
			ids = append(ids, encoded(p.ID))
		}
	}
	return s.challenges.make(toProve(session), s.now()), ids, err
}

// PasskeyToAdd returns what the browser of that session needs to make a passkey.
func (s *Service) PasskeyToAdd(session store.Session, site Site) (NewPasskey, error) {
	list, err := s.db.Passkeys(session.User)
	if err != nil {
		return NewPasskey{}, err
	}
	var n NewPasskey
	for _, kind := range passkeyKinds {
		n.Kinds = append(n.Kinds, int(kind))
	}
	handle := newHandle()
	for _, p := range list {
		handle = p.Handle
		if p.Site == site.Host {
			n.Exclude = append(n.Exclude, encoded(p.ID))
		}
	}
	n.Handle = encoded(handle)
	n.Challenge = s.challenges.make(toAdd(session, n.Handle), s.now())
	return n, nil
}

// newHandle is under which authenticators will know somebody. It is random, so that a
// page on another name of this domain, which browsers let ask for our passkeys, cannot
// make one that takes the place of somebody's.
func newHandle() []byte {
	raw := make([]byte, maxHandle)
	_, _ = rand.Read(raw) // never fails
	return raw
}

// Fresh reports whether the person of a session has just proved who they are.
func (s *Service) Fresh(session store.Session) bool {
	return s.now().Sub(session.ProvedAt()).Abs() < FreshFor
}

func (s *Service) needFresh(session store.Session) error {
	if s.Fresh(session) {
		return nil
	}
	return &Error{Message: "Prove first that it is you. Nothing was changed.", Err: ErrProof}
}

// AddPasskey adds the passkey that the browser of a session has made, for the handle
// that PasskeyToAdd gave out. ErrProof; ErrInvalid for its name; ErrPasskey when the
// answer is none, comes from elsewhere or too late; store.ErrTaken; store.ErrFull.
func (s *Service) AddPasskey(session store.Session, site Site, name, handle string, answer []byte) (store.Passkey, error) {
	if err := s.needFresh(session); err != nil {
		return store.Passkey{}, err
	}
	name, err := CleanName("passkey", name)
	if err != nil {
		return store.Passkey{}, err
	}
	p, err := s.madePasskey(session, site, handle, answer)
	if err != nil {
		return store.Passkey{}, err
	}
	p.User, p.Site, p.Name, p.Created = session.User, site.Host, name, s.now()
	switch err := s.db.AddPasskey(p, session.Hash, p.Created); {
	case errors.Is(err, store.ErrTaken):
		return store.Passkey{}, &Error{Message: "There is a passkey with this number already. Make another one.", Err: err}
	case errors.Is(err, store.ErrFull):
		return store.Passkey{}, &Error{Message: fmt.Sprintf("You have %d passkeys, and there is no place for more. Remove one that you do not use.", store.MaxPasskeys), Err: err}
	case errors.Is(err, store.ErrMismatch):
		return store.Passkey{}, badPasskey() // another one was made meanwhile, under another handle
	case err != nil:
		return store.Passkey{}, err
	}
	return p, nil
}

// madePasskey checks a new passkey as WebAuthn Level 3 section 7.1 has it. What its maker
// says of itself (attestation) is not asked for.
func (s *Service) madePasskey(session store.Session, site Site, handle string, answer []byte) (store.Passkey, error) {
	rawHandle, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil || len(rawHandle) != maxHandle || len(answer) > MaxPasskeyAnswer {
		return store.Passkey{}, badPasskey()
	}
	made, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return store.Passkey{}, badPasskey()
	}
	// Before anything is checked with it: of a key without bound each check is dear.
	if data := made.Response.AttestationObject.AuthData.AttData; len(data.CredentialPublicKey) > maxPublicKey || len(data.CredentialID) > maxPasskeyID {
		return store.Passkey{}, badPasskey()
	}
	challenge := made.Response.CollectedClientData.Challenge
	if _, ok := s.challenges.open(challenge, toAdd(session, handle), s.now()); !ok {
		return store.Passkey{}, latePasskey()
	}
	party, err := relyingParty(site)
	if err != nil {
		return store.Passkey{}, err
	}
	var kinds []protocol.CredentialParameter
	for _, kind := range passkeyKinds {
		kinds = append(kinds, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: kind})
	}
	c, err := party.CreateCredential(passkeyOwner{handle: rawHandle}, webauthn.SessionData{
		Challenge: challenge, UserID: rawHandle, UserVerification: protocol.VerificationRequired, CredParams: kinds,
	}, made)
	if err != nil || len(c.ID) == 0 {
		return store.Passkey{}, badPasskey()
	}
	return store.Passkey{
		ID: c.ID, Handle: rawHandle, PublicKey: c.PublicKey, Counter: c.Authenticator.SignCount, Synced: c.Flags.BackupEligible,
	}, nil
}

// relyingParty is what package webauthn knows of us for a browser that has the pages
// there. Of origins there is exactly one: a page on a name below ours, such as a pod's,
// may ask a browser for our passkeys, and only the origin tells.
func relyingParty(site Site) (*webauthn.WebAuthn, error) {
	return webauthn.New(&webauthn.Config{RPID: site.Host, RPDisplayName: "podgate", RPOrigins: []string{site.Origin}})
}

// passkeyOwner is a webauthn.User.
type passkeyOwner struct {
	handle []byte
	has    []webauthn.Credential
}

func (o passkeyOwner) WebAuthnID() []byte                         { return o.handle }
func (o passkeyOwner) WebAuthnName() string                       { return "" }
func (o passkeyOwner) WebAuthnDisplayName() string                { return "" }
func (o passkeyOwner) WebAuthnCredentials() []webauthn.Credential { return o.has }

func badPasskey() error {
	return &Error{Message: "This passkey could not be checked. Try once more.", Err: ErrPasskey}
}

func latePasskey() error {
	return &Error{Message: "That took too long, or was sent twice. Try once more.", Err: ErrPasskey}
}

func unknownPasskey() error {
	return &Error{Message: "This passkey is not known here. It may have been removed; use your password.", Err: ErrPasskey}
}

func copiedPasskey() error {
	return &Error{Message: "This passkey has been used elsewhere in a way that only a copy of it can be. Sign in with your password and remove it.", Err: ErrPasskey}
}

// usedPasskey is a passkey whose answer is its own.
type usedPasskey struct {
	store.Passkey
	use store.PasskeyUse
}

// checkPasskey checks the answer of a passkey as WebAuthn Level 3 section 7.2 has it, but
// for what the store compares when it notes the use: the counter, and that the answer was
// not given before. The person must have been
// asked for by the authenticator, with a finger, a face or a number (user verification),
// because nothing else is asked of them.
func (s *Service) checkPasskey(site Site, purpose string, answer []byte) (usedPasskey, error) {
	if len(answer) > MaxPasskeyAnswer {
		return usedPasskey{}, badPasskey()
	}
	given, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return usedPasskey{}, badPasskey()
	}
	challenge := given.Response.CollectedClientData.Challenge
	asked, ok := s.challenges.open(challenge, purpose, s.now())
	if !ok {
		return usedPasskey{}, latePasskey()
	}
	p, err := s.db.Passkey(store.PasskeyKey(given.RawID))
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Site != site.Host {
		return usedPasskey{}, unknownPasskey()
	}
	if err != nil {
		return usedPasskey{}, err
	}
	party, err := relyingParty(site)
	if err != nil {
		return usedPasskey{}, err
	}
	stored := webauthn.Credential{ID: p.ID, PublicKey: p.PublicKey, Flags: webauthn.CredentialFlags{BackupEligible: p.Synced}}
	owner := passkeyOwner{p.Handle, []webauthn.Credential{stored}}
	_, _, err = party.ValidatePasskeyLogin(func(_, _ []byte) (webauthn.User, error) { return owner, nil }, webauthn.SessionData{
		Challenge: challenge, UserVerification: protocol.VerificationRequired,
	}, given)
	if err != nil {
		return usedPasskey{}, badPasskey()
	}
	return usedPasskey{p, store.PasskeyUse{Key: store.PasskeyKey(p.ID), Counter: given.Response.AuthenticatorData.Counter, Asked: asked}}, nil
}

// SignInWithPasskey begins a session for whoever the answer of a passkey proves, as
// SignIn does. Failures are not limited: there is nothing to guess. ErrPasskey.
func (s *Service) SignInWithPasskey(ctx context.Context, site Site, answer []byte, b Browser) (string, store.User, store.Passkey, error) {
	p, err := s.checkPasskey(site, toSignIn, answer)
	if err != nil {
		return "", store.User{}, store.Passkey{}, err
	}
	u, err := s.db.User(p.User)
	if err != nil {
		return "", store.User{}, store.Passkey{}, explain(err, store.ErrNotFound, "", "%s", unknownPasskey().Error())
	}
	secret, session := s.newSession(u.ID, b.Addr, b.UserAgent)
	err = trace.Run(ctx, "store create_session", func() error {
		return s.db.CreateSessionByPasskey(session, p.use)
	})
	if err != nil {
		return "", public(u), p.Passkey, passkeyRefused(err)
	}
	s.addresses.note(b.Addr, session.Created)
	return secret, public(u), p.Passkey, nil
}

// passkeyRefused gives what the store says of a use its words.
func passkeyRefused(err error) error {
	switch {
	case errors.Is(err, store.ErrSpent):
		return copiedPasskey()
	case errors.Is(err, store.ErrExpired):
		return latePasskey()
	case errors.Is(err, store.ErrNotFound):
		return unknownPasskey()
	}
	return err
}

// ProveWithPasskey notes that the person of a session has proved anew who they are, with a
// passkey of theirs. ErrPasskey.
func (s *Service) ProveWithPasskey(session store.Session, site Site, answer []byte) error {
	p, err := s.checkPasskey(site, toProve(session), answer)
	if err != nil {
		return err
	}
	return passkeyRefused(s.db.ProveSessionByPasskey(session.Hash, p.use, s.now()))
}

// ProveWithPassword is ProveWithPasskey with the person's password, under the rule of
// SignIn. Errors as of SignIn.
func (s *Service) ProveWithPassword(ctx context.Context, session store.Session, password string, addr netip.Addr) error {
	u, err := s.db.User(session.User)
	if err != nil {
		return err
	}
	if err := s.checkOwnPassword(ctx, u, password, session.Hash, addr); err != nil {
		return err
	}
	if u, err = s.db.User(session.User); err != nil { // its hash may have been made anew
		return err
	}
	err = s.db.ProveSession(session.Hash, u.Password, s.now())
	return explain(err, store.ErrMismatch, "old", "Your password was changed meanwhile. Try once more.")
}

// Passkeys returns the passkeys of a person, the oldest first.
func (s *Service) Passkeys(user store.UserID) ([]store.Passkey, error) { return s.db.Passkeys(user) }

// NamePasskey gives a passkey of a person another name. ErrInvalid; store.ErrNotFound.
func (s *Service) NamePasskey(user store.UserID, key store.Hash, name string) (string, error) {
	name, err := CleanName("passkey", name)
	if err != nil {
		return "", err
	}
	return name, s.db.NamePasskey(user, key, name)
}

// RemovePasskey deletes a passkey of the person of a session and returns it. ErrProof;
// store.ErrNotFound.
func (s *Service) RemovePasskey(session store.Session, key store.Hash) (store.Passkey, error) {
	if err := s.needFresh(session); err != nil {
		return store.Passkey{}, err
	}
	return s.db.DeletePasskey(session.User, key)
}
