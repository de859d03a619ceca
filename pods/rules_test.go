package pods

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"podgate/pods/wire"
	"podgate/store"
	"podgate/store/storetest"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "1", "my-app", "a--b", "x1y2", strings.Repeat("x", wire.MaxLabel), "wwww"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, say := range map[string]string{
		"":                                   "my-app",
		"My App":                             "try my-app",
		"shop_2":                             "try shop-2",
		"-x-":                                "try x",
		"a.b":                                "try a-b",
		"café":                               "try caf",
		"ＡＢＣ":                                "may hold only",
		"x\n":                                "try x",
		"xn--bcher-kva":                      "DNS keeps",
		"www":                                "www-app",
		"localhost":                          "kept for the server",
		"WWW":                                "may hold only",
		strings.Repeat("x", wire.MaxLabel+1): "at most 63",
		strings.Repeat("x", 1<<20):           "at most 63",
		"../../etc/passwd":                   "try etc-passwd",
		"a\x00b":                             "try a-b",
		strings.Repeat("é", 20) + "toot":     "may hold only",
	} {
		err := CheckName(name)
		if !errors.Is(err, ErrInvalidName) || !strings.Contains(err.Error(), say) || len(err.Error()) > 500 {
			t.Errorf("%.80q: %v", name, err)
		}
	}
	if !slices.IsSorted(reservedNames) {
		t.Error("reserved names are searched and must be sorted")
	}
	for _, name := range append([]string{"openpgpkey", "enterpriseenrollment", "enterpriseregistration", "autodiscover", "mta-sts"}, reservedNames...) {
		if err := CheckName(name); !errors.Is(err, ErrInvalidName) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"my-app", "", "X_y", "xn--a", "www", "é", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckName(name)
		if err == nil {
			if len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.Trim(name, "-") != name {
				t.Errorf("%q is no DNS label", name)
			}
			return
		}
		if !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("an error that cannot be shown: %q", err.Error())
		}
		if _, try, found := strings.Cut(err.Error(), "; try "); found && CheckName(try) != nil {
			t.Errorf("the proposal %q for %q is no better", try, name)
		}
	})
}

func TestCheckEnv(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range MaxEnvVars + 1 {
		many[fmt.Sprintf("V%d", i)] = ""
	}
	good := maps.Clone(many)
	delete(good, "V0")
	for _, env := range []map[string]string{nil, good, {"_a1": "x=y\n€"}, {"A": strings.Repeat("x", MaxEnvValue)}, {strings.Repeat("N", MaxEnvName): ""}} {
		if err := checkEnv(env); err != nil {
			t.Errorf("%.80v: %v", env, err)
		}
	}
	big := strings.Repeat("x", MaxEnvValue)
	for name, env := range map[string]map[string]string{
		"too many":      many,
		"no name":       {"": "x"},
		"digit first":   {"1A": "x"},
		"equals sign":   {"A=B": "x"},
		"NUL in a name": {"A\x00": "x"},
		"long name":     {strings.Repeat("N", MaxEnvName+1): "x"},
		"the port":      {"PORT": "s3cret"},
		"the home":      {"HOME": "s3cret"},
		"our own":       {"PODGATE_NAME": "s3cret"},
		"long value":    {"A": big + "s3cret"},
		"all too long":  {"A": big, "B": big, "C": "s3cret"},
		"NUL":           {"A": "s3cret\x00"},
		"no text":       {"A": "s3cret\xff"},
	} {
		err := checkEnv(env)
		if !errors.Is(err, ErrBadInput) || strings.Contains(err.Error(), "s3cret") || len(err.Error()) > 300 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckEnv(f *testing.F) {
	f.Add("KEY", "value")
	f.Add("PODGATE_X", "\x00")
	f.Fuzz(func(t *testing.T, name, value string) {
		if checkEnv(map[string]string{name: value}) != nil {
			return
		}
		if name == "PORT" || name == "HOME" || strings.ContainsAny(name, "=\x00 \n") || strings.Contains(value, "\x00") || !utf8.ValidString(value) {
			t.Errorf("%q=%q went through", name, value)
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for fails, want := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 9: 512 * time.Second, 10: maxBackoff, 1000: maxBackoff} {
		if got := backoff(fails); got != want {
			t.Errorf("after %d: %s, want %s", fails, got, want)
		}
	}
}

// The words that errors begin with are part of what tools promise.
func TestErrorsBeginWithTheirWord(t *testing.T) {
	t.Parallel()
	for _, err := range []error{errStopped, errAbsent, errForeign, CheckName(""), unavailable(&UnavailableError{Reason: "a", Fix: "b"})} {
		var f *fault
		if !errors.As(err, &f) || !strings.HasPrefix(err.Error(), f.word.Error()+": ") || !errors.Is(err, f.word) {
			t.Errorf("%v", err)
		}
	}
}

func noRuntime(context.Context) (Runtime, error) { return nil, errors.New("x") }

func TestBusyPodAnswersInTime(t *testing.T) {
	t.Parallel()
	s, err := New(Config{DB: storetest.New(t), Regions: []Region{{Name: "down", Open: noRuntime}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.busyWait = 10 * time.Millisecond
	l := s.of(store.Pod{ID: "x"})
	op, err := s.begin(t.Context(), l, "starting", turnWait)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.begin(t.Context(), l, "starting", turnWait); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "get_pod") {
		t.Errorf("a second operation: %v", err)
	}
	s.busyWait = time.Hour
	if _, err := s.begin(t.Context(), l, "starting", turnTry); !errors.Is(err, ErrBusy) {
		t.Errorf("one that need not be: %v", err)
	}
	if g := l.snapshot(); g.phase != "starting" {
		t.Errorf("phase %q", g.phase)
	}
	if got := s.Working(); !slices.Equal(got, []string{"the pod x is starting"}) {
		t.Errorf("%q", got)
	}
	op.end()
	if got := s.Working(); len(got) > 0 {
		t.Errorf("%q after the end", got)
	}
	s.Rest(true)
	if _, err := s.begin(t.Context(), l, "starting", turnPreempt); !errors.Is(err, ErrUnavailable) || len(s.Working()) > 0 {
		t.Errorf("while it rests: %v", err)
	}
	s.Rest(false)
	silent, err := s.begin(t.Context(), l, "", turnWait) // as a deploy or a snapshot is
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Working(); !slices.Equal(got, []string{"the pod x is being worked on"}) {
		t.Errorf("%q", got)
	}
	silent.end()
	if g := l.snapshot(); g.phase != "" {
		t.Errorf("phase %q after the end", g.phase)
	}
}

// Stop and Delete are carried out even when their caller leaves.
func TestPreemptingOperationsOutliveTheirCaller(t *testing.T) {
	t.Parallel()
	s, err := New(Config{DB: storetest.New(t), Regions: []Region{{Name: "down", Open: noRuntime}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	op, err := s.begin(ctx, s.of(store.Pod{ID: "x"}), "stopping", turnPreempt)
	if err != nil {
		t.Fatal(err)
	}
	defer op.end()
	cancel()
	if _, bounded := op.ctx.Deadline(); op.ctx.Err() != nil || !bounded {
		t.Errorf("context %v, bounded %v", op.ctx.Err(), bounded)
	}
}
