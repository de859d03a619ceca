package mcp

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
)

type logsInput struct {
	Name   string `json:"name" jsonschema:"the pod's name"`
	Lines  int    `json:"lines,omitempty" jsonschema:"how many of the newest lines; 100 when left out"`
	Since  string `json:"since,omitempty" jsonschema:"only lines from this time on (RFC 3339), or of the last while, such as 10m or 2h"`
	Grep   string `json:"grep,omitempty" jsonschema:"only lines that contain this text"`
	Source string `json:"source,omitempty" jsonschema:"app: what the app printed; worker and cron: what the other lines of its Procfile printed, each after the name or number of its process; agent: starts, stops and deaths of the app; install: what reload installed; network: what the pod tried to reach and may not; all when left out"`
}

type logLine struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source"`
	Stream string    `json:"stream"`
	Text   string    `json:"text"`
}

type logsOutput struct {
	Lines []logLine `json:"lines" jsonschema:"oldest first"`
	Cut   int       `json:"cut,omitempty" jsonschema:"how many older lines that match were left out because the answer would be too long"`
}

func (e *endpoint) addLogTool(s *sdk.Server) {
	add(e, s, tool{
		name: "get_logs", title: "Read logs", action: authz.ReadLogs, hints: readOnly,
		description: "Shows what a pod's app, its installs and its agent wrote, the newest lines, also when it is stopped. Look here first when an app does not answer.",
		refine: func(s *jsonschema.Schema) {
			podName(s)
			between(s, "lines", 1, pods.MaxLogLines)
			enum(s, "source", "app", "worker", "cron", "agent", "install", "network")
		},
	}, e.logs)
}

func (e *endpoint) logs(ctx context.Context, r request, in logsInput) (answer[logsOutput], error) {
	since, err := parseSince(in.Since, time.Now())
	if err != nil {
		return answer[logsOutput]{}, err
	}
	found, err := e.cfg.Pods.Logs(ctx, r.actor, in.Name, pods.LogQuery{Lines: in.Lines, Since: since, Grep: in.Grep, Source: in.Source})
	if err != nil {
		return answer[logsOutput]{}, err
	}
	lines := make([]logLine, len(found))
	for i, l := range found {
		lines[i] = logLine{Time: l.Time, Source: l.Source, Stream: l.Stream, Text: text.Valid(l.Text)}
	}
	return logsAnswer(lines), nil
}

// logsAnswer keeps the newest lines that fit into maxOutput.
func logsAnswer(lines []logLine) answer[logsOutput] {
	texts := make([]string, len(lines))
	first, room := len(lines), maxOutput-framing
	for first > 0 {
		l := lines[first-1]
		texts[first-1] = fmt.Sprintf("%s %s/%s %s\n", l.Time.UTC().Format("2006-01-02T15:04:05.000Z"), l.Source, l.Stream, l.Text)
		if room -= utf8.RuneCountInString(texts[first-1]); room < 0 {
			break
		}
		first--
	}
	out := logsOutput{Lines: lines[first:], Cut: first}
	text := strings.Join(texts[first:], "")
	switch {
	case len(lines) == 0:
		text = "No lines match.\n"
	case first > 0:
		text = fmt.Sprintf("(%d older lines were cut)\n%s", first, text)
	}
	return answer[logsOutput]{text: text, data: out}
}

// parseSince reads a time, or a span before now. Empty is the zero time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, badInput("since must be a time such as 2026-03-01T12:00:00Z or a span such as 10m or 2h")
}
