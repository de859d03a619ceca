package tlsrecord

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"

	"golang.org/x/crypto/chacha20poly1305"
)

// State is all that a connection needs to go on: where each direction is, and what was
// received and not read yet. Whoever has it can read the connection and speak on it.
type State struct {
	Suite   uint16 `json:"suite"`             // of TLS 1.3, as crypto/tls numbers them
	In      Half   `json:"in"`                // what the other side sends
	Out     Half   `json:"out"`               // what this side sends
	Raw     []byte `json:"raw,omitempty"`     // records that were received and not opened, the last in part
	Message []byte `json:"message,omitempty"` // of what was opened, the beginning of a handshake message
	Data    []byte `json:"data,omitempty"`    // of what was opened, what nobody has read
	Asked   bool   `json:"asked,omitempty"`   // the other side wants a new key of this one
}

// Half is where one direction is.
type Half struct {
	Secret Secret `json:"secret"` // the traffic secret
	Seq    uint64 `json:"seq"`    // number of the next record under it
}

// Secret is bytes that are shown to nobody, whatever the verb.
type Secret []byte

// Format implements fmt.Formatter.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(secret)") }

// suite is a cipher suite of TLS 1.3.
type suite struct {
	id   uint16
	hash func() hash.Hash
	key  int // bytes
	aead func(key []byte) (cipher.AEAD, error)
}

var suites = []suite{
	{tls.TLS_AES_128_GCM_SHA256, sha256.New, 16, gcm},
	{tls.TLS_AES_256_GCM_SHA384, sha512.New384, 32, gcm},
	{tls.TLS_CHACHA20_POLY1305_SHA256, sha256.New, chacha20poly1305.KeySize, chacha20poly1305.New},
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func suiteOf(id uint16) (*suite, error) {
	for i := range suites {
		if suites[i].id == id {
			return &suites[i], nil
		}
	}
	return nil, fmt.Errorf("tlsrecord: the cipher suite %04x is not known here", id)
}

// nonceSize is that of all suites, in bytes.
const nonceSize = 12

// half is one direction under its present key.
type half struct {
	suite  *suite
	secret []byte
	seq    uint64 // number of the next record
	aead   cipher.AEAD
	iv     []byte
}

func newHalf(s *suite, at Half) (half, error) {
	h := half{suite: s, secret: at.Secret, seq: at.Seq}
	if len(at.Secret) != s.hash().Size() {
		return h, fmt.Errorf("tlsrecord: a secret of %d bytes is none of its suite", len(at.Secret))
	}
	return h, h.derive()
}

// derive makes the key of the secret (RFC 8446 section 7.3).
func (h *half) derive() error {
	key, err := h.expand("key", h.suite.key)
	if err != nil {
		return err
	}
	if h.iv, err = h.expand("iv", nonceSize); err != nil {
		return err
	}
	h.aead, err = h.suite.aead(key)
	return err
}

// renew goes on to the next secret (RFC 8446 section 7.2).
func (h *half) renew() (err error) {
	if h.secret, err = h.expand("traffic upd", len(h.secret)); err != nil {
		return err
	}
	h.seq = 0
	return h.derive()
}

// expand is HKDF-Expand-Label without a context (RFC 8446 section 7.1).
func (h *half) expand(label string, size int) ([]byte, error) {
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(size)), byte(len(label)))
	info = append(append(info, label...), 0)
	return hkdf.Expand(h.suite.hash, h.secret, string(info), size)
}

// errWorn is the error of a direction that has used up all numbers: to begin anew would
// use a nonce twice.
var errWorn = errors.New("tlsrecord: all numbers of records are used up")

// nonce is for the next record, which seal and open count.
func (h *half) nonce() ([]byte, error) {
	if h.seq == math.MaxUint64 {
		return nil, errWorn
	}
	nonce := make([]byte, nonceSize)
	binary.BigEndian.PutUint64(nonce[nonceSize-8:], h.seq)
	for i, b := range h.iv {
		nonce[i] ^= b
	}
	return nonce, nil
}

// seal appends a record with the content, which is of that type (RFC 8446 section 5.2).
func (h *half) seal(to []byte, kind byte, content []byte) ([]byte, error) {
	nonce, err := h.nonce()
	if err != nil {
		return to, err
	}
	begin := len(to)
	n := len(content) + 1 + h.aead.Overhead()
	to = append(to, kindData, legacyMajor, legacyMinor, byte(n>>8), byte(n))
	body := len(to)
	to = append(append(to, content...), kind)
	h.seq++
	return h.aead.Seal(to[:body], nonce, to[body:], to[begin:body]), nil
}

// open takes a whole record apart, in its own memory.
func (h *half) open(record []byte) (kind byte, content []byte, err error) {
	if record[0] != kindData {
		return 0, nil, unexpected("a record that is not protected")
	}
	nonce, err := h.nonce()
	if err != nil {
		return 0, nil, &fault{alertInternal, err.Error()}
	}
	body := record[headerSize:]
	content, err = h.aead.Open(body[:0], nonce, body, record[:headerSize])
	if err != nil {
		return 0, nil, &fault{alertBadRecord, "a record was changed on its way"}
	}
	h.seq++
	if len(content) > maxContent+1 {
		return 0, nil, tooLong
	}
	for i := len(content) - 1; i >= 0; i-- { // zeros at the end are padding
		if content[i] != 0 {
			return content[i], content[:i], nil
		}
	}
	return 0, nil, unexpected("a record without a type")
}
