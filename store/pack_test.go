package store_test

import (
	"bytes"
	"reflect"
	"testing"

	"podgate/store"
	"podgate/store/storetest"
)

func fullGrant(t testing.TB) (g store.Grant, raw []byte) {
	t.Helper()
	storetest.Fill(t, &g)
	raw, err := g.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return g, raw
}

// A record that was cut off or added to anywhere is none.
func TestPackedRecordsAreWhole(t *testing.T) {
	t.Parallel()
	_, raw := fullGrant(t)
	for n := range raw {
		if err := new(store.Grant).UnmarshalBinary(raw[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are a record", n, len(raw))
		}
	}
	if err := new(store.Grant).UnmarshalBinary(append(raw, 0)); err == nil {
		t.Error("a byte more is a record too")
	}
}

// What is empty stays empty.
func TestPackedRecordsMayBeEmpty(t *testing.T) {
	t.Parallel()
	for _, g := range []store.Grant{{}, {ID: "g", Refresh: &store.Refresh{}, Tokens: []store.Token{{}}}} {
		raw, err := g.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got := store.Grant{Nickname: "what stood there before", Refresh: &store.Refresh{Seen: true}, Tokens: make([]store.Token, 3)}
		if err := got.UnmarshalBinary(raw); err != nil || !reflect.DeepEqual(got, g) {
			t.Errorf("%+v became %+v, %v", g, got, err)
		}
	}
}

// Whatever stands in a file, nothing panics, and what is read is written and read the same.
func FuzzGrant(f *testing.F) {
	_, raw := fullGrant(f)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var g, again store.Grant
		if g.UnmarshalBinary(raw) != nil {
			return
		}
		written, err := g.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if len(written) > len(raw) {
			t.Errorf("%d bytes became %d", len(raw), len(written))
		}
		if err := again.UnmarshalBinary(written); err != nil || !reflect.DeepEqual(g, again) {
			t.Errorf("%+v became %+v, %v", g, again, err)
		}
	})
}
