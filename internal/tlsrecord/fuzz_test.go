package tlsrecord

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// scripted is a connection on which one side has said all that it will.
type scripted struct {
	net.Conn
	says io.Reader
	hear bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error)       { return s.says.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return s.hear.Write(p) }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// Whatever comes, in the clear or under the right keys, is read to its end or refused, and
// who has read it goes over or says that it cannot.
func FuzzRecords(f *testing.F) {
	for _, sealed := range []bool{false, true} {
		f.Add(sealed, []byte("\x17\x03\x03\x00\x05hello"))
		f.Add(sealed, []byte("\x16\x18\x00\x00\x01\x01"))
		f.Add(sealed, []byte("\x05\x16\x18\x00\x00\x01\x01\x06\x17hello\x02\x15\x01\x00"))
		f.Add(sealed, []byte("\x03\x15\x01\x5a\x01\x17\x04\x00\x00\x00\x00"))
		f.Add(sealed, []byte("\x17\x03\x03\x41\x00"))
	}
	f.Fuzz(func(t *testing.T, sealed bool, raw []byte) {
		secret := Half{Secret: bytes.Repeat([]byte{7}, 32)}
		said := raw
		if sealed { // a length, a type and the content, again and again
			kind, _ := suiteOf(suites[0].id)
			h, err := newHalf(kind, secret)
			if err != nil {
				t.Fatal(err)
			}
			said = nil
			for len(raw) > 1 {
				n := min(int(raw[0]), len(raw)-2)
				content := raw[2 : 2+n]
				if said, err = h.seal(said, raw[1], content); err != nil {
					t.Fatal(err)
				}
				if raw[1] == kindHandshake && n == keyUpdateSize && content[0] == messageKeyUpdate {
					_ = h.renew()
				}
				raw = raw[2+n:]
			}
		}
		s := &scripted{says: bytes.NewReader(said)}
		c := resume(t, s, State{Suite: suites[0].id, In: secret, Out: secret})
		for buf := make([]byte, 100); ; {
			n, err := c.Read(buf)
			if n > 0 && err == nil {
				continue
			}
			if n > 0 || err == nil {
				t.Fatalf("%d, %v", n, err)
			}
			_, fault := errors.AsType[*fault](err)
			if alert := s.hear.Len() > 0; fault != alert {
				t.Fatalf("%v: an alert was sent: %v", err, alert)
			}
			break
		}
		if _, err := c.State(); err == nil {
			t.Fatal("what has ended goes over")
		}
	})
}
