// Package passkeytest is a device with a passkey, for tests: it makes one and signs with
// it as a browser and an authenticator do together (WebAuthn Level 3, sections 6 and 7),
// and lies where a test wants it to.
package passkeytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// The flags of authenticator data (section 6.1).
const (
	Present  = 1 << 0
	Verified = 1 << 2
	Eligible = 1 << 3 // for more than one device
	BackedUp = 1 << 4
	attested = 1 << 6 // data of a new credential follows
)

// Device holds one passkey. What it says can be changed between two answers.
type Device struct {
	T       testing.TB
	Host    string // that it thinks it signs for
	Origin  string // that it was asked from
	Flags   byte
	Counter uint32 // 0: it counts nothing; otherwise it is one more with each answer
	ID      []byte
	Handle  []byte // of its person
	Key     *ecdsa.PrivateKey

	// Lies about the client data.
	Type        string // in place of what the call is
	CrossOrigin bool
	Public      map[int]any // in place of the public part of Key, as COSE has it
}

// New returns a device without a passkey, at a browser that has the pages there.
func New(t testing.TB, host, origin string) *Device {
	t.Helper()
	d := &Device{T: t, Host: host, Origin: origin, Flags: Present | Verified, ID: make([]byte, 32)}
	_, _ = rand.Read(d.ID)
	var err error
	if d.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	return d
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (d *Device) marshal(v any, how func(any) ([]byte, error)) []byte {
	d.T.Helper()
	raw, err := how(v)
	if err != nil {
		d.T.Fatal(err)
	}
	return raw
}

func (d *Device) clientData(kind, challenge string) []byte {
	if d.Type != "" {
		kind = d.Type
	}
	return d.marshal(map[string]any{"type": kind, "challenge": challenge, "origin": d.Origin, "crossOrigin": d.CrossOrigin}, json.Marshal)
}

// authenticatorData is section 6.1 up to the credential.
func (d *Device) authenticatorData(flags byte) []byte {
	if d.Counter > 0 {
		d.Counter++
	}
	host := sha256.Sum256([]byte(d.Host))
	return binary.BigEndian.AppendUint32(append(host[:], flags), d.Counter)
}

func (d *Device) answer(response map[string]string) []byte {
	return d.marshal(map[string]any{
		"id": encoded(d.ID), "rawId": encoded(d.ID), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{},
	}, json.Marshal)
}

// Make makes the passkey for a challenge and a handle, both in base64url, and returns
// what the page sends.
func (d *Device) Make(challenge, handle string) []byte {
	d.T.Helper()
	var err error
	if d.Handle, err = base64.RawURLEncoding.DecodeString(handle); err != nil {
		d.T.Fatal(err)
	}
	point, err := d.Key.PublicKey.Bytes()
	if err != nil {
		d.T.Fatal(err)
	}
	key := map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]}
	if d.Public != nil {
		key = d.Public
	}
	public := d.marshal(key, cbor.Marshal)
	data := d.authenticatorData(d.Flags | attested)
	data = append(data, make([]byte, 16)...) // of no known model
	data = binary.BigEndian.AppendUint16(data, uint16(len(d.ID)))
	data = append(append(data, d.ID...), public...)
	object := d.marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data}, cbor.Marshal)
	return d.answer(map[string]string{"clientDataJSON": encoded(d.clientData("webauthn.create", challenge)), "attestationObject": encoded(object)})
}

// Answer signs a challenge with the passkey and returns what the page sends.
func (d *Device) Answer(challenge string) []byte {
	d.T.Helper()
	client, data := d.clientData("webauthn.get", challenge), d.authenticatorData(d.Flags)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte(nil), data...), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, d.Key, digest[:])
	if err != nil {
		d.T.Fatal(err)
	}
	return d.answer(map[string]string{
		"clientDataJSON": encoded(client), "authenticatorData": encoded(data), "signature": encoded(signature), "userHandle": encoded(d.Handle),
	})
}
