package certs

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// bridge lets certmagic, which logs with zap, write to the log of the server.
func bridge(log *slog.Logger) *zap.Logger {
	return zap.New(&slogCore{handler: log.Handler()}, zap.WithClock(zapcore.DefaultClock))
}

// slogCore is a zapcore.Core over a slog.Handler.
type slogCore struct{ handler slog.Handler }

// levelOf tones certmagic down: what it does step by step is for who looks for
// a fault, and its debugging is for its authors. What a person should know, such
// as a certificate that has come, this package says itself.
func levelOf(level zapcore.Level) (slog.Level, bool) {
	switch {
	case level >= zapcore.ErrorLevel:
		return slog.LevelError, true
	case level == zapcore.WarnLevel:
		return slog.LevelWarn, true
	case level == zapcore.InfoLevel:
		return slog.LevelDebug, true
	}
	return 0, false
}

// Enabled implements zapcore.LevelEnabler.
func (c *slogCore) Enabled(level zapcore.Level) bool {
	l, ok := levelOf(level)
	return ok && c.handler.Enabled(context.Background(), l)
}

// With implements zapcore.Core.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{handler: c.handler.WithAttrs(attrs(fields))}
}

// Check implements zapcore.Core.
func (c *slogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level, _ := levelOf(e.Level) // Check has asked whether it is wanted
	if slices.ContainsFunc(fields, cancelled) {
		level = slog.LevelDebug // the server stops: nothing that anybody has to mend
		if !c.handler.Enabled(context.Background(), level) {
			return nil
		}
	}
	message := "certificates: " + e.Message
	if name := strings.TrimPrefix(e.LoggerName, "."); name != "" {
		message = "certificates: " + name + ": " + e.Message
	}
	r := slog.NewRecord(e.Time, level, message, 0)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

func cancelled(f zapcore.Field) bool {
	err, _ := f.Interface.(error)
	return f.Type == zapcore.ErrorType && errors.Is(err, context.Canceled)
}

// Sync implements zapcore.Core.
func (c *slogCore) Sync() error { return nil }

// attrs turns fields into attributes by the encoder that zap itself has for
// plain Go values.
func attrs(fields []zapcore.Field) []slog.Attr {
	encoder := zapcore.NewMapObjectEncoder()
	list := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		if f.Type == zapcore.SkipType || f.Type == zapcore.NamespaceType {
			continue
		}
		f.AddTo(encoder)
		value, ok := encoder.Fields[f.Key]
		if !ok {
			continue
		}
		if d, isDuration := value.(time.Duration); isDuration {
			list = append(list, slog.Duration(f.Key, d))
		} else {
			list = append(list, slog.Any(f.Key, value))
		}
	}
	return list
}
