package certs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// What certmagic says arrives in the server's log, quieter than it was said,
// with its values.
func TestBridge(t *testing.T) {
	t.Parallel()
	b := &buffer{}
	log := bridge(slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	named := log.Named("obtain").With(zap.String("name", "a.test"))
	named.Debug("too much")
	named.Info("step", zap.Int("n", 1), zap.Strings("list", []string{"x", "y"}), zap.Field{Type: zapcore.SkipType})
	named.Warn("odd", zap.Duration("in", time.Minute))
	named.Error("bad", zap.Error(errors.New("no answer")), zap.Bool("again", true))
	named.Error("job failed", zap.Error(fmt.Errorf("stopped: %w", context.Canceled)))
	var lines []string
	for line := range strings.Lines(b.String()) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), " ") // the time
		lines = append(lines, rest)
	}
	want := []string{
		`level=DEBUG msg="certificates: obtain: step" name=a.test n=1 list="[x y]"`,
		`level=WARN msg="certificates: obtain: odd" name=a.test in=1m0s`,
		`level=ERROR msg="certificates: obtain: bad" name=a.test error="no answer" again=true`,
		`level=DEBUG msg="certificates: obtain: job failed" name=a.test error="stopped: context canceled"`,
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", b)
	}
	if log := bridge(slog.New(slog.DiscardHandler)); log.Core().Enabled(zap.ErrorLevel) {
		t.Error("what nobody wants is written all the same")
	}
}
