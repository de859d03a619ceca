package pods_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"slices"
	"testing"

	"podgate/pods"
)

var lifeLine = regexp.MustCompile(`msg="a pod (?:was|ended) ([a-z ]+)" pod=(\S+) name=blog`)

// The log tells a pod's life, with its id.
func TestLivesOfPodsAreLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := newHouse(t, func(c *pods.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	p := h.create(t, "blog")
	for _, do := range []func() error{
		func() error { _, err := h.Restart(t.Context(), h.ann, "blog", nil); return err }, // of the app: the pod runs on
		func() error { _, err := h.Stop(t.Context(), h.ann, "blog", nil); return err },
		func() error { _, err := h.Start(t.Context(), h.ann, "blog", nil); return err },
		func() error { return h.Delete(t.Context(), h.ann, "blog", "blog") },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(); err != nil { // whatever else writes has ended
		t.Fatal(err)
	}
	var got []string
	for _, m := range lifeLine.FindAllStringSubmatch(log.String(), -1) {
		got = append(got, m[1])
		if m[2] != string(p.ID) {
			t.Errorf("the id in %s is not %s", m[0], p.ID)
		}
	}
	if want := []string{"made", "started", "stopped", "started", "deleted"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q, in\n%s", got, want, &log)
	}
}
