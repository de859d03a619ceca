package store

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"time"
)

// packer writes the fields of a record one after the other, or reads them. A record
// names its fields once, in their order (see Grant.fields): writing, reading and the
// description of the format follow from that.
//
// A text is its length as an unsigned varint and its bytes; a hash a text of 32 bytes,
// or an empty one when it was never set; a list its length and its items; a time the
// nanoseconds since 1970 in 8 bytes, big-endian, or 0 for none; a number a varint; a
// yes or no one byte, which also stands before what may be absent.
type packer struct {
	out   []byte
	in    string           // what is left to read
	reads bool             //
	err   error            // of reading; nothing is read after it
	about *strings.Builder // takes the description; nil mostly
}

var errPacked = errors.New("it is cut off, or was never written so")

// packed returns the record that fields writes.
func packed(fields func(*packer)) []byte {
	p := packer{out: make([]byte, 0, 640)}
	fields(&p)
	return p.out
}

// unpack has fields read raw, all of it.
func unpack(raw []byte, fields func(*packer)) error {
	p := packer{in: string(raw), reads: true} // one copy, of which all texts are parts
	fields(&p)
	if p.err == nil && p.in != "" {
		p.err = errPacked
	}
	return p.err
}

func (p *packer) tell(name, kind string) {
	if p.about != nil {
		p.about.WriteString(" " + name + kind)
	}
}

// take returns the next n bytes that are read, "" when there are not so many.
func (p *packer) take(n uint64) (part string) {
	if p.err != nil || n > uint64(len(p.in)) {
		p.err = errPacked
		return ""
	}
	part, p.in = p.in[:n], p.in[n:]
	return part
}

// length writes n, or reads and returns what stands in its place.
func (p *packer) length(n int) int {
	if !p.reads {
		p.out = binary.AppendUvarint(p.out, uint64(n))
		return n
	}
	size, shift := uint64(0), 0
	for {
		b := p.take(1)
		if p.err != nil {
			return 0
		}
		size |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			break
		}
		if shift += 7; shift > 28 {
			p.err = errPacked
			return 0
		}
	}
	// Whatever is counted has a byte at least.
	if size > uint64(len(p.in)) {
		p.err = errPacked
		return 0
	}
	return int(size)
}

func packText[T ~string](p *packer, name string, v *T) {
	p.tell(name, "")
	n := p.length(len(*v))
	if p.reads {
		*v = T(p.take(uint64(n)))
		return
	}
	p.out = append(p.out, *v...)
}

func (p *packer) bytes(name string, v *[]byte) {
	s := string(*v)
	if packText(p, name, &s); p.reads && s != "" {
		*v = []byte(s)
	}
}

func (p *packer) hash(name string, v *Hash) {
	var s string
	if !v.IsZero() {
		s = string(v[:])
	}
	packText(p, name, &s)
	if p.reads && copy(v[:], s) != len(s) || len(s) != 0 && len(s) != len(v) {
		p.err = errPacked
	}
}

func (p *packer) yes(name string, v *bool) {
	p.tell(name, "?")
	if !p.reads {
		p.out = append(p.out, 0)
		if *v {
			p.out[len(p.out)-1] = 1
		}
		return
	}
	switch p.take(1) {
	case "\x00":
		*v = false
	case "\x01":
		*v = true
	default:
		p.err = errPacked
	}
}

func (p *packer) number(name string, v *int) {
	p.tell(name, "")
	if !p.reads {
		p.out = binary.AppendVarint(p.out, int64(*v))
		return
	}
	if p.err != nil {
		return
	}
	n, size := binary.Varint([]byte(p.in[:min(len(p.in), binary.MaxVarintLen64)]))
	if size <= 0 || n > math.MaxInt32 || n < math.MinInt32 {
		p.err = errPacked
		return
	}
	*v, p.in = int(n), p.in[size:]
}

func (p *packer) moment(name string, v *time.Time) {
	p.tell(name, "")
	if !p.reads {
		at := uint64(0)
		if !v.IsZero() {
			at = uint64(v.UnixNano())
		}
		p.out = binary.BigEndian.AppendUint64(p.out, at)
		return
	}
	if raw := p.take(8); p.err == nil {
		*v = time.Time{}
		if at := int64(binary.BigEndian.Uint64([]byte(raw))); at != 0 {
			*v = time.Unix(0, at).UTC()
		}
	}
}

// packList packs the items of v, each by the same fields.
func packList[T any](p *packer, name string, v *[]T, fields func(*T, *packer)) {
	p.tell(name, "[")
	if p.about != nil {
		fields(new(T), p)
		p.about.WriteString(" ]")
		return
	}
	n := p.length(len(*v))
	if p.reads {
		*v = nil
		if n > 0 {
			*v = make([]T, n)
		}
	}
	for i := range *v {
		if fields(&(*v)[i], p); p.err != nil {
			return
		}
	}
}

// packMaybe packs what v points to, if it does.
func packMaybe[T any](p *packer, name string, v **T, fields func(*T, *packer)) {
	there := *v != nil || p.about != nil
	p.yes(name, &there)
	if p.err != nil || !there {
		*v = nil
		return
	}
	if *v == nil {
		*v = new(T)
	}
	fields(*v, p)
}

func (s *Scope) fields(p *packer) { packText(p, "scope", s) }
