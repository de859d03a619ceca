package authz_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"podgate/internal/authz"
	"podgate/store"
)

func TestAllowOneMore(t *testing.T) {
	pods := []string{"web-1", "web-2", "shop", "xweb-3"}
	for _, c := range []struct {
		limits store.Limits
		ok     bool
	}{
		{store.Limits{}, true},
		{store.Limits{MaxPods: 4}, false},
		{store.Limits{MaxPods: 5}, true},
		{store.Limits{Prefix: "web-", MaxPods: 2}, false},
		{store.Limits{Prefix: "web-", MaxPods: 3}, true},
		{store.Limits{Prefix: "web-"}, true},
		{store.Limits{Prefix: "none-", MaxPods: 1}, true},
	} {
		err := authz.Actor{Limits: c.limits}.AllowOneMore(pods)
		var denied *authz.Denied
		if c.ok != (err == nil) || err != nil && (!errors.As(err, &denied) || denied.Limit != authz.LimitPods || denied.Scope != "") {
			t.Errorf("%+v: %v", c.limits, err)
		}
	}
}

func TestParseLimits(t *testing.T) {
	long := strings.Repeat("x", 63)
	for _, c := range []struct {
		in   authz.LimitFields
		want store.Limits
	}{
		{authz.LimitFields{}, store.Limits{}},
		{authz.LimitFields{Prefix: " \t", MaxPods: " "}, store.Limits{}},
		{authz.LimitFields{ReadOnly: true, Prefix: " Web- ", MaxPods: " 3 "}, store.Limits{ReadOnly: true, Prefix: "web-", MaxPods: 3}},
		{authz.LimitFields{Prefix: "a"}, store.Limits{Prefix: "a"}},
		{authz.LimitFields{Prefix: "ab-"}, store.Limits{Prefix: "ab-"}},
		{authz.LimitFields{Prefix: "1--2"}, store.Limits{Prefix: "1--2"}},
		{authz.LimitFields{Prefix: long}, store.Limits{Prefix: long}},
		{authz.LimitFields{MaxPods: "001"}, store.Limits{MaxPods: 1}},
		{authz.LimitFields{MaxPods: "1000"}, store.Limits{MaxPods: 1000}},
	} {
		if got, err := c.in.Parse(); err != nil || got != c.want {
			t.Errorf("%+v: %+v, %v", c.in, got, err)
		}
	}
	for field, list := range map[string][]string{
		"prefix":   {"-web", "we b", "web.", "web_", "wéb", "ab--", "xn--x", long + "x", long[1:] + "-", "web\x00", "\xff", "*", "\u212a"},
		"max_pods": {"0", "-1", "+1", "1.5", "1e3", "1001", "65537", "99999999999999999999", "one", "0x10", "٣", "1 2"},
	} {
		for _, value := range list {
			f := authz.LimitFields{ReadOnly: true, MaxPods: value}
			if field == "prefix" {
				f = authz.LimitFields{ReadOnly: true, Prefix: value}
			}
			got, err := f.Parse()
			var fault *authz.FieldFault
			if !errors.As(err, &fault) || fault.Field != field || got != (store.Limits{}) {
				t.Errorf("%s %q: %+v, %v", field, value, got, err)
			}
		}
	}
}

var beginning = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,62})?$`)

func FuzzParseLimits(f *testing.F) {
	for _, seed := range []authz.LimitFields{{}, {true, "web-", "3"}, {false, "-", "0"}, {false, "xn--", "1001"}, {false, "\xff", "٣"}} {
		f.Add(seed.ReadOnly, seed.Prefix, seed.MaxPods)
	}
	f.Fuzz(func(t *testing.T, readOnly bool, prefix, maxPods string) {
		l, err := authz.LimitFields{ReadOnly: readOnly, Prefix: prefix, MaxPods: maxPods}.Parse()
		if err != nil {
			var fault *authz.FieldFault
			if !errors.As(err, &fault) || !utf8.ValidString(fault.Message) || l != (store.Limits{}) {
				t.Errorf("%+v, %v", l, err)
			}
			return
		}
		if l.ReadOnly != readOnly || !beginning.MatchString(l.Prefix) || l.MaxPods < 0 || l.MaxPods > 1000 {
			t.Errorf("%+v", l)
		}
		// What a form shows of limits reads as the same limits.
		if again, err := authz.FieldsOf(l).Parse(); err != nil || again != l {
			t.Errorf("%+v comes back as %+v, %v", l, again, err)
		}
	})
}

func TestLimitWords(t *testing.T) {
	for want, l := range map[string]store.Limits{
		"[]":              {},
		"[read-only]":     {ReadOnly: true},
		"[at most 1 pod]": {MaxPods: 1},
		"[read-only only pods whose name begins with web- at most 3 pods]": {ReadOnly: true, Prefix: "web-", MaxPods: 3},
	} {
		if got := fmt.Sprint(authz.LimitWords(l)); got != want {
			t.Errorf("%+v: %s, want %s", l, got, want)
		}
	}
}
