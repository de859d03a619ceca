package mcp

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
)

// Bytes that one read_file answer carries at most, so that the text stays
// within maxOutput: of text, and of what becomes a third longer as base64.
const (
	maxTextRead   = maxOutput - framing
	maxBinaryRead = maxTextRead / 4 * 3
)

type writeFileInput struct {
	Name     string `json:"name" jsonschema:"the pod's name"`
	Path     string `json:"path" jsonschema:"under /home/pod or /tmp, or relative to /home/pod/app; missing folders are made"`
	Content  string `json:"content" jsonschema:"the whole content; it replaces what the file had"`
	Encoding string `json:"encoding,omitempty" jsonschema:"how content is encoded: utf-8 (when left out) or base64"`
	Mode     string `json:"mode,omitempty" jsonschema:"permissions in octal, such as 0755 for a script"`
}

type writeFileOutput struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	Mode  string `json:"mode"`
}

type readFileInput struct {
	Name   string `json:"name" jsonschema:"the pod's name"`
	Path   string `json:"path" jsonschema:"under /home/pod or /tmp, or relative to /home/pod/app"`
	Offset int64  `json:"offset,omitempty" jsonschema:"where to begin, in bytes"`
	Limit  int64  `json:"limit,omitempty" jsonschema:"how many bytes to read at most"`
}

type readFileOutput struct {
	Path       string `json:"path"`
	Content    string `json:"content"`
	Encoding   string `json:"encoding" jsonschema:"utf-8 or base64"`
	Size       int64  `json:"size" jsonschema:"of the whole file, in bytes"`
	Offset     int64  `json:"offset"`
	Cut        bool   `json:"cut" jsonschema:"whether the file goes on"`
	NextOffset int64  `json:"next_offset,omitempty" jsonschema:"the offset with which to read on"`
	Mode       string `json:"mode"`
}

func (e *endpoint) addFileTools(s *sdk.Server) {
	add(e, s, tool{
		name: "write_file", title: "Write a file", action: authz.WriteFiles, hints: changes(true, true),
		description: fmt.Sprintf("Writes a file in a running pod, at most %s. Afterwards use manage_pod with action reload for the app to see it (the static preset needs no reload).", size(pods.MaxFileSize)),
		refine: func(s *jsonschema.Schema) {
			podName(s)
			enum(s, "encoding", "utf-8", "base64")
			s.Properties["mode"].Pattern = `^0?[0-7]{3}$`
		},
	}, e.writeFile)
	add(e, s, tool{
		name: "read_file", title: "Read a file", action: authz.ReadFiles, hints: readOnly,
		description: fmt.Sprintf("Reads a file of a running pod, about %d characters at a time. What is not text comes as base64.", maxTextRead),
		refine: func(s *jsonschema.Schema) {
			podName(s)
			least := 0.0
			s.Properties["offset"].Minimum = &least
			between(s, "limit", 1, maxTextRead)
		},
	}, e.readFile)
	add(e, s, tool{
		name: "list_files", title: "List files", action: authz.ReadFiles, hints: readOnly,
		description: "Lists a folder of a running pod with type, size, mode and time of change, or with recursive all that lies below it: there node_modules, .git and the like are not gone into unless path or glob names them. An answer that is cut says with which cursor to go on.",
		refine:      func(s *jsonschema.Schema) { podName(s); longest(s, "glob", pods.MaxQuery) },
	}, e.listFiles)
}

func (e *endpoint) writeFile(ctx context.Context, r request, in writeFileInput) (answer[writeFileOutput], error) {
	none := answer[writeFileOutput]{}
	content := []byte(in.Content)
	if in.Encoding == "base64" {
		var err error
		if content, err = base64.StdEncoding.DecodeString(in.Content); err != nil {
			return none, badInput("content is not base64 (the standard alphabet, with padding); or leave encoding out to write text")
		}
	}
	var mode uint64
	if in.Mode != "" {
		var err error
		if mode, err = strconv.ParseUint(in.Mode, 8, 32); err != nil {
			return none, badInput("mode must be three octal digits, such as 0644 or 0755")
		}
	}
	info, err := e.cfg.Pods.WriteFile(ctx, r.actor, in.Name, in.Path, content, uint32(mode))
	if err != nil {
		return none, err
	}
	out := writeFileOutput{Path: text.Valid(info.Name), Bytes: info.Size, Mode: info.Mode}
	return answer[writeFileOutput]{text: fmt.Sprintf("Wrote %s (%s, mode %s).", out.Path, size(out.Bytes), out.Mode), data: out}, nil
}

func (e *endpoint) readFile(ctx context.Context, r request, in readFileInput) (answer[readFileOutput], error) {
	limit := in.Limit
	if limit == 0 {
		limit = maxTextRead
	}
	part, err := e.cfg.Pods.ReadFile(ctx, r.actor, in.Name, in.Path, in.Offset, limit)
	if err != nil {
		return answer[readFileOutput]{}, err
	}
	out := encodePart(part)
	return answer[readFileOutput]{text: out.Content, blocks: []string{out.note()}, data: out}, nil
}

// encodePart turns a part of a file into text, or base64 when it is none. A
// character that the end of the part cut in two is left for the next one.
func encodePart(part pods.FileContent) readFileOutput {
	content := part.Content
	out := readFileOutput{Path: text.Valid(part.Info.Name), Encoding: "utf-8", Size: part.Info.Size, Offset: part.Offset, Cut: part.More, Mode: part.Info.Mode}
	if part.More {
		content = trimPartialRune(content)
	}
	if utf8.Valid(content) && !bytes.ContainsRune(content, 0) {
		out.Content = string(content)
	} else {
		if content = part.Content; len(content) > maxBinaryRead {
			content, out.Cut = content[:maxBinaryRead], true
		}
		out.Content, out.Encoding = base64.StdEncoding.EncodeToString(content), "base64"
	}
	if out.Cut {
		out.NextOffset = part.Offset + int64(len(content))
	}
	return out
}

// trimPartialRune drops the bytes of an unfinished character at the end, if
// something remains without them.
func trimPartialRune(p []byte) []byte {
	for i := len(p) - 1; i > 0 && i >= len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				return p[:i]
			}
			return p
		}
	}
	return p
}

func (o readFileOutput) note() string {
	note := fmt.Sprintf("[%s, %s in all, mode %s, from byte %d, encoded as %s", o.Path, size(o.Size), o.Mode, o.Offset, o.Encoding)
	if o.Cut {
		note += fmt.Sprintf("; read on with offset %d", o.NextOffset)
	}
	return note + "]"
}
