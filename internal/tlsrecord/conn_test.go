package tlsrecord

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// A connection of crypto/tls goes on here with every byte, and from here again, whoever
// changes keys meanwhile, until either side ends it.
func TestGoesOn(t *testing.T) {
	for _, kind := range suites {
		t.Run(tls.CipherSuiteName(kind.id), func(t *testing.T) {
			only(t, kind.id)
			server, client := shake(t, tls.VersionTLS13)
			if got := server.ConnectionState().CipherSuite; got != kind.id {
				t.Fatalf("suite %04x", got)
			}
			send(t, client, server, []byte("before"))
			send(t, server, client, []byte("before, too"))
			s, err := Of(server)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				raw, err := json.Marshal(s) // as it is handed over
				if err != nil {
					t.Fatal(err)
				}
				s = State{}
				if err := json.Unmarshal(raw, &s); err != nil {
					t.Fatal(err)
				}
				c := resume(t, server.NetConn(), s)
				large := make([]byte, 200_000)
				_, _ = rand.Read(large)
				send(t, client, c, large)
				send(t, c, client, large)
				go func() { // the answer of client, which it writes before it reads on
					if err := c.update(1); err != nil {
						t.Error(err)
					}
					_, _ = c.Write([]byte("new key"))
				}()
				got := make(chan struct{})
				go func() { receive(t, client, []byte("new key")); close(got) }()
				send(t, lateWriter{client, got}, c, []byte("new key, too"))
				if c.in.seq != 1 || c.out.seq != 1 {
					t.Errorf("the keys are not new: %d records in, %d out", c.in.seq, c.out.seq)
				}
				if s, err = c.State(); err != nil {
					t.Fatal(err)
				}
			}
			c := resume(t, server.NetConn(), s)
			ended := make(chan error, 1)
			go func() { ended <- c.CloseWrite() }()
			if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%d, %v", n, err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, errShutdown) {
				t.Errorf("%v", err)
			}
			send(t, client, c, []byte("still heard"))
			go func() { ended <- client.Close() }()
			for range 2 {
				if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("%d, %v", n, err)
				}
			}
			<-ended
			if s, err := c.State(); err == nil {
				t.Errorf("%v of what has ended", s)
			}
		})
	}
}

// lateWriter writes once something has happened.
type lateWriter struct {
	io.Writer
	after <-chan struct{}
}

func (w lateWriter) Write(p []byte) (int, error) {
	<-w.after
	return w.Writer.Write(p)
}

// What crypto/tls keeps is read as it is after both sides have changed their keys, and in
// the middle of records, messages and data.
func TestOf(t *testing.T) {
	t.Parallel()
	server, it := shake(t, tls.VersionTLS13)
	client := resumed(t, it)
	below := it.NetConn()
	update := string([]byte{messageKeyUpdate, 0, 0, 1, 1})

	renewed := make(chan error, 1)
	go func() {
		_, err := client.Write([]byte("old"))
		err = errors.Join(err, client.update(1))
		_, failed := client.Write([]byte("new"))
		renewed <- errors.Join(err, failed)
	}()
	go func() { // takes the answer
		n, err := client.Read(make([]byte, 10))
		if n != 4 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		renewed <- err
	}()
	receive(t, server, []byte("oldnew"))
	if _, err := server.Write([]byte("back")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-renewed, <-renewed); err != nil {
		t.Fatal(err)
	}
	write := func(raw ...[]byte) {
		if _, err := below.Write(slices.Concat(raw...)); err != nil {
			t.Error(err)
		}
	}
	hello, world, first, second := record(t, client, kindData, "hello "), record(t, client, kindData, "world"), record(t, client, kindHandshake, update[:3]), record(t, client, kindHandshake, update[3:])
	goOn := func(data, message, raw string) *Conn {
		t.Helper()
		s, err := Of(server)
		if err != nil {
			t.Fatal(err)
		}
		if string(s.Data) != data || string(s.Message) != message || string(s.Raw) != raw || s.In.Seq == 0 {
			t.Fatalf("%q, %q, %q, %d", s.Data, s.Message, s.Raw, s.In.Seq)
		}
		return resume(t, server.NetConn(), s)
	}

	sent := make(chan struct{})
	go func() { write(hello, world[:7]); close(sent) }()
	receive(t, server, []byte("he"))
	<-sent
	goOn("llo ", "", string(world[:7]))
	receive(t, server, []byte("llo "))
	interrupt(t, server, func() { write(world[7:9]) })
	goOn("", "", string(world[:9]))
	go write(world[9:], first, second[:6])
	receive(t, server, []byte("world"))
	interrupt(t, server, func() {})
	c := goOn("", update[:3], string(second[:6]))
	if err := client.out.renew(); err != nil {
		t.Fatal(err)
	}
	go write(second[6:], record(t, client, kindData, "goes on"))
	receive(t, c, []byte("goes "))
	s, err := c.State()
	if err != nil || string(s.Data) != "on" || !s.Asked {
		t.Fatalf("%+v, %v", s, err)
	}
	// It is the client's to ask, and ours to answer before we say more.
	c = resume(t, server.NetConn(), s)
	receive(t, c, []byte("on"))
	send(t, c, client, []byte("answered"))
	send(t, c, client, []byte("once"))
	if client.in.seq != 2 {
		t.Errorf("%d records with the new key", client.in.seq)
	}
}

// What cannot go on is refused, and so is what another version of Go may make of it.
func TestOfRefuses(t *testing.T) {
	t.Parallel()
	conns := map[string]func(server, client *tls.Conn) *tls.Conn{
		"opened here":  func(_, client *tls.Conn) *tls.Conn { return client },
		"no handshake": func(server, _ *tls.Conn) *tls.Conn { return tls.Server(server.NetConn(), &tls.Config{}) },
		"closed by us": func(server, client *tls.Conn) *tls.Conn { go hears(client); _ = server.CloseWrite(); return server },
		"closed by them": func(server, client *tls.Conn) *tls.Conn {
			go closes(client)
			_, _ = server.Read(make([]byte, 1))
			return server
		},
		"failed in writing": func(server, _ *tls.Conn) *tls.Conn {
			_ = server.NetConn().Close()
			_, _ = server.Write([]byte("x"))
			return server
		},
	}
	conns["a long message under way"] = func(server, client *tls.Conn) *tls.Conn {
		long := record(t, resumed(t, client), kindHandshake, "\x0b\x04\x00\x00"+strings.Repeat("x", 1000))
		interrupt(t, server, func() {
			if _, err := client.NetConn().Write(long); err != nil {
				t.Error(err)
			}
		})
		return server
	}
	for name, make := range conns {
		server, client := shake(t, tls.VersionTLS13)
		if s, err := Of(make(server, client)); err == nil || s.In.Secret != nil {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	server, _ := shake(t, tls.VersionTLS12)
	if _, err := Of(server); err == nil || !strings.Contains(err.Error(), "TLS 1.3") {
		t.Errorf("%v", err)
	}
	good := peeled{conn: valueOf(server)}
	if good.state(0); good.err != nil {
		t.Errorf("%v", good.err)
	}
	for _, other := range []any{
		&struct{}{},
		&struct{ in, out int }{},
		&struct{ in, out *struct{ err error } }{},
		&struct{ in, out struct{ err int } }{},
		&struct {
			in, out struct {
				err error
				seq uint64
			}
		}{},
		&struct {
			in, out struct {
				err           error
				seq           [8]byte
				trafficSecret string
			}
		}{},
		&struct {
			in, out struct {
				err           error
				seq           [8]byte
				trafficSecret []byte
			}
			rawInput bytes.Reader
		}{},
		&struct {
			in, out struct {
				err           error
				seq           [8]byte
				trafficSecret []byte
			}
			rawInput, hand bytes.Buffer
			input          struct{ s []byte }
		}{},
	} {
		p := peeled{conn: valueOf(other)}
		if p.state(0); p.err == nil || !strings.Contains(p.err.Error(), "version of Go") {
			t.Errorf("%T: %v", other, p.err)
		}
	}
}

func closes(c *tls.Conn) { _ = c.CloseWrite() }
func hears(c *tls.Conn)  { _, _ = c.Read(make([]byte, 1)) }

// What the other side must not do ends the connection, with the alert that says so.
func TestFaults(t *testing.T) {
	t.Parallel()
	records := func(kind byte, contents ...string) func(*Conn) []byte {
		return func(c *Conn) (all []byte) {
			for _, content := range contents {
				all, _ = c.out.seal(all, kind, []byte(content)) // the numbers suffice
			}
			return all
		}
	}
	bytesOf := func(raw string) func(*Conn) []byte { return func(*Conn) []byte { return []byte(raw) } }
	both := func(list ...func(*Conn) []byte) func(*Conn) []byte {
		return func(c *Conn) (all []byte) {
			for _, f := range list {
				all = append(all, f(c)...)
			}
			return all
		}
	}
	for name, c := range map[string]struct {
		alert byte
		raw   func(client *Conn) []byte
	}{
		"longer than a record can be":       {alertOverflow, bytesOf("\x17\x03\x03\x41\x01")},
		"content longer than it can be":     {alertOverflow, records(kindData, strings.Repeat("x", maxContent+1))},
		"padding longer than it can be":     {alertOverflow, records(0, "x\x17"+strings.Repeat("\x00", maxContent))},
		"changed":                           {alertBadRecord, func(c *Conn) []byte { raw := records(kindData, "hello")(c); raw[7] ^= 1; return raw }},
		"a header that was changed":         {alertBadRecord, func(c *Conn) []byte { raw := records(kindData, "hello")(c); raw[2] ^= 1; return raw }},
		"sent again":                        {alertBadRecord, func(c *Conn) []byte { raw := records(kindAlert, "\x01\x5a")(c); return append(raw, raw...) }},
		"left out":                          {alertBadRecord, func(c *Conn) []byte { _ = records(kindData, "hello")(c); return records(kindData, "hello")(c) }},
		"no tag":                            {alertBadRecord, bytesOf("\x17\x03\x03\x00\x00")},
		"data in clear":                     {alertUnexpected, bytesOf("\x16\x03\x03\x00\x05hello")},
		"change_cipher_spec":                {alertUnexpected, bytesOf("\x14\x03\x03\x00\x01\x01")},
		"nothing but padding":               {alertUnexpected, records(0, "\x00\x00\x00")},
		"an unknown type":                   {alertUnexpected, records(24, "hello")},
		"change_cipher_spec, protected":     {alertUnexpected, records(20, "\x01")},
		"a flood of nothing":                {alertUnexpected, records(kindData, make([]string, maxIdle+1)...)},
		"a flood of alerts":                 {alertUnexpected, records(kindAlert, slices.Repeat([]string{"\x01\x5a"}, maxIdle+1)...)},
		"an alert that is too short":        {alertDecode, records(kindAlert, "\x01")},
		"an alert that is two":              {alertDecode, records(kindAlert, "\x01\x5a\x01\x5a")},
		"another handshake message":         {alertUnexpected, records(kindHandshake, "\x01\x00\x00\x01\x00")},
		"a ticket":                          {alertUnexpected, records(kindHandshake, "\x04\x00\x00\x01\x00")},
		"an empty part of a message":        {alertUnexpected, records(kindHandshake, "")},
		"data within a message":             {alertUnexpected, both(records(kindHandshake, "\x18\x00"), records(kindData, "x"))},
		"a change of keys that is too long": {alertDecode, records(kindHandshake, "\x18\x00\x00\x02\x00\x00")},
		"a change of keys that is empty":    {alertDecode, records(kindHandshake, "\x18\x00\x00\x00")},
		"a change of keys to something":     {alertIllegalParameter, records(kindHandshake, "\x18\x00\x00\x01\x02")},
		"two changes of keys in one":        {alertUnexpected, records(kindHandshake, "\x18\x00\x00\x01\x00\x18\x00\x00\x01\x00")},
		"the old key after a change":        {alertBadRecord, records(kindHandshake, "\x18\x00\x00\x01\x00", "\x18\x00\x00\x01\x00")},
		"a flood of changes of keys": {alertUnexpected, func(c *Conn) (all []byte) {
			for range maxIdle + 1 {
				all = append(all, records(kindHandshake, "\x18\x00\x00\x01\x01")(c)...)
				_ = c.out.renew()
			}
			return all
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := pair(t)
			wire := &scripted{says: bytes.NewReader(c.raw(client))}
			server.Conn = wire
			_, err := server.Read(make([]byte, maxSealed))
			f, ok := errors.AsType[*fault](err)
			if !ok || f.alert != c.alert {
				t.Errorf("%v", err)
			}
			client.Conn = &scripted{says: &wire.hear}
			_, heard := client.Read(make([]byte, 1))
			if alert, ok := errors.AsType[tls.AlertError](heard); !ok || byte(alert) != c.alert {
				t.Errorf("the other side hears %v", heard)
			}
			if _, again := server.Read(make([]byte, 1)); again != err {
				t.Errorf("then %v", again)
			}
			if _, err := server.Write([]byte("x")); err == nil {
				t.Error("it is written on")
			}
			if _, err := server.State(); err == nil {
				t.Error("it goes over")
			}
		})
	}
}

// What is unusual and allowed is no fault.
func TestNoFaults(t *testing.T) {
	t.Parallel()
	server, client := pair(t)
	var raw []byte
	add := func(kind byte, content string) { raw = append(raw, record(t, client, kind, content)...) }
	for range maxIdle {
		add(kindData, "")
	}
	add(kindData, "one")
	add(kindAlert, "\x01\x5a")
	add(kindData, "two")
	for _, part := range []string{"\x18", "\x00\x00\x01", "\x00"} {
		add(kindHandshake, part)
	}
	if err := client.out.renew(); err != nil {
		t.Fatal(err)
	}
	add(kindData, "three")
	add(0, "four\x17"+strings.Repeat("\x00", 1000)) // the type, and padding
	add(kindData, strings.Repeat("x", maxContent))
	go func() { _, _ = client.Conn.Write(raw); _ = client.Conn.Close() }()
	got, err := io.ReadAll(server)
	if want := "onetwothreefour" + strings.Repeat("x", maxContent); err != nil || string(got) != want {
		t.Errorf("%d bytes, %.30q: %v", len(got), got, err)
	}
	server, client = pair(t)
	half := record(t, client, kindData, "hello")
	go func() { _, _ = client.Conn.Write(half[:9]); _ = client.Conn.Close() }()
	if got, err := io.ReadAll(server); len(got) > 0 || err != io.ErrUnexpectedEOF {
		t.Errorf("what was cut off: %q, %v", got, err)
	}
	server, client = pair(t)
	go func() { _, _ = client.Conn.Write(record(t, client, kindAlert, "\x02\x28")) }()
	var remote *net.OpError
	if _, err := server.Read(make([]byte, 1)); !errors.As(err, &remote) || remote.Err != tls.AlertError(40) {
		t.Errorf("%v", err)
	}
}

// No key of ours protects more than it can, and no number is used twice.
func TestKeysWear(t *testing.T) {
	t.Parallel()
	server, client := pair(t)
	server.out.seq, client.in.seq = renewAfter-1, renewAfter-1
	send(t, server, client, []byte("the last"))
	if server.out.seq != renewAfter {
		t.Errorf("%d", server.out.seq)
	}
	send(t, server, client, []byte("the first"))
	if server.out.seq != 1 || client.in.seq != 1 {
		t.Errorf("%d, %d", server.out.seq, client.in.seq)
	}
	// Who asks again and again and does not listen gets one new key.
	for range maxIdle {
		interrupt(t, server, func() { _ = client.update(1) })
	}
	send(t, server, client, []byte("once"))
	if server.out.seq != 1 || server.asked.Load() {
		t.Errorf("%d", server.out.seq)
	}
	h := server.out
	h.seq = math.MaxUint64
	if raw, err := h.seal(nil, kindData, []byte("x")); err != errWorn || raw != nil {
		t.Errorf("%x, %v", raw, err)
	}
	server.in.seq = math.MaxUint64
	go func() { _, _ = client.Write([]byte("x")) }()
	go func() { _, _ = client.Read(make([]byte, 1)) }()
	if _, err := server.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "used up") {
		t.Errorf("%v", err)
	}
}

// Deadlines and closing are those of any connection: a read that timed out can be tried
// again, a write that did cannot, and closing ends both.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	server, client := pair(t)
	raw := record(t, client, kindData, "hello")
	interrupt(t, server, func() { _, _ = client.Conn.Write(raw[:8]) })
	go func() { _, _ = client.Conn.Write(raw[8:]) }()
	receive(t, server, []byte("hello"))
	if err := server.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	_, err := server.Write([]byte("x"))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := server.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, again := server.Write([]byte("x")); again != err {
		t.Errorf("%v", again)
	}
	if err := server.CloseWrite(); err == nil {
		t.Error("half of a record went before")
	}
	if n, err := server.Read(nil); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}

	server, client = pair(t)
	ended := make(chan error, 2)
	go func() { _, err := server.Write([]byte("nobody reads")); ended <- err }()
	go func() { _, err := server.Read(make([]byte, 1)); ended <- err }()
	if _, err := io.ReadFull(client.Conn, make([]byte, 3)); err != nil { // it is in the middle of it
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("it goes on")
		}
	}
}

// A state that cannot be is refused, and a secret is shown to nobody.
func TestStates(t *testing.T) {
	t.Parallel()
	good := State{Suite: tls.TLS_CHACHA20_POLY1305_SHA256, In: Half{Secret: bytes.Repeat([]byte("s"), 32)}, Out: Half{Secret: bytes.Repeat([]byte("s"), 32)}}
	resume(t, nil, good)
	for name, change := range map[string]func(*State){
		"a suite of TLS 1.2": func(s *State) { s.Suite = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 },
		"another suite":      func(s *State) { s.Suite = tls.TLS_AES_256_GCM_SHA384 },
		"no secret":          func(s *State) { s.In.Secret = nil },
		"half a secret":      func(s *State) { s.Out.Secret = s.Out.Secret[:16] },
		"a whole message":    func(s *State) { s.Message = []byte("\x18\x00\x00\x01\x00") },
	} {
		bad := good
		change(&bad)
		if _, err := Resume(nil, bad); err == nil {
			t.Errorf("%s goes on", name)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		if said := fmt.Sprintf(verb+verb, good, &good); strings.Contains(said, "sss") || strings.Contains(said, "7373") || strings.Contains(said, "115 115") {
			t.Errorf("%s: %s", verb, said)
		}
	}
}
