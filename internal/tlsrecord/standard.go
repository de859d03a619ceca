package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// This file reads what crypto/tls has no words for: the keys of a connection that it has
// accepted. It reads by name, and says that it cannot where a version of Go keeps
// something in another way; a test fails then.

// Of returns the state of a connection of crypto/tls. Nobody may read or write it
// meanwhile, or use it afterwards but to close what is below. There is an error for one
// that is not TLS 1.3, was not accepted here, has failed or ended in either direction, or
// has something under way that a [State] cannot say.
func Of(c *tls.Conn) (State, error) {
	public := c.ConnectionState()
	if !public.HandshakeComplete || public.Version != tls.VersionTLS13 {
		return State{}, errors.New("tlsrecord: it is no connection over TLS 1.3")
	}
	p := peeled{conn: reflect.ValueOf(c).Elem()}
	s := p.state(public.CipherSuite)
	if p.bool("isClient") {
		p.refuse("it was opened here, and not accepted")
	}
	if p.err != nil {
		return State{}, p.err
	}
	return s, nil
}

// peeled reads the fields of a connection. The first that is not as expected is the error,
// and from then on all are empty.
type peeled struct {
	conn reflect.Value
	err  error
}

func (p *peeled) refuse(why string) {
	if p.err == nil {
		p.err = errors.New("tlsrecord: " + why)
	}
}

func (p *peeled) state(suite uint16) State {
	s := State{Suite: suite, In: p.half("in"), Out: p.half("out"), Raw: p.buffer("rawInput"), Message: p.buffer("hand")}
	data, read := p.bytes("input.s"), p.int("input.i")
	s.Data = data[min(max(read, 0), int64(len(data))):]
	if len(s.Message) >= keyUpdateSize { // crypto/tls collects longer ones, and waits for their end
		p.refuse("a handshake message is under way that clients do not send")
	}
	if p.bool("closeNotifySent") || p.bool("buffering") || len(p.bytes("sendBuf")) > 0 {
		p.refuse("it has ended, or something waits to be sent")
	}
	return s
}

func (p *peeled) half(name string) Half {
	if !at[error](p, name+".err").IsNil() {
		p.refuse("it has failed")
	}
	seq := at[[8]byte](p, name+".seq").Bytes()
	return Half{p.bytes(name + ".trafficSecret"), binary.BigEndian.Uint64(seq)}
}

// buffer is what is left in one of bytes.
func (p *peeled) buffer(name string) []byte {
	at[bytes.Buffer](p, name)
	all, read := p.bytes(name+".buf"), int64(at[int](p, name+".off").Int())
	return all[min(max(read, 0), int64(len(all))):]
}

func (p *peeled) bytes(path string) []byte { return bytes.Clone(at[[]byte](p, path).Bytes()) }
func (p *peeled) int(path string) int64    { return at[int64](p, path).Int() }
func (p *peeled) bool(path string) bool    { return at[bool](p, path).Bool() }

// at is the field at a path, if it is there and a T; else an empty one.
func at[T any](p *peeled, path string) reflect.Value {
	field := p.conn
	for name := range strings.SplitSeq(path, ".") {
		if field.Kind() == reflect.Struct {
			field = field.FieldByName(name)
		} else {
			field = reflect.Value{}
		}
	}
	if want := reflect.TypeFor[T](); !field.IsValid() || field.Type() != want {
		p.refuse(fmt.Sprintf("the version of Go that this program was made with keeps %s of a connection in another way", path))
	}
	if p.err != nil {
		return reflect.New(reflect.TypeFor[T]()).Elem()
	}
	return field
}
