package mcp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"podgate/pods"
)

// arguments checks what a tool is called with. Its schemas are flat: each
// property is checked by itself, so that a refusal names the one that is wrong
// and what it has to be, in words for the model that has to mend it.
type arguments struct {
	names    []string // sorted
	required []string
	checks   map[string]*jsonschema.Resolved
	refusals map[string]string
}

func newArguments(schema *jsonschema.Schema) (*arguments, error) {
	a := &arguments{required: schema.Required, checks: map[string]*jsonschema.Resolved{}, refusals: map[string]string{}}
	for name, property := range schema.Properties {
		check, err := property.Resolve(nil)
		if err != nil {
			return nil, fmt.Errorf("argument %s: %w", name, err)
		}
		a.names = append(a.names, name)
		a.checks[name], a.refusals[name] = check, refusal(name, property)
	}
	slices.Sort(a.names)
	return a, nil
}

// read checks raw, the arguments of a call, and decodes them into the struct
// that into points to. Every error is made for the model that called.
func (a *arguments) read(raw json.RawMessage, into any) error {
	if len(a.required) == 0 && (len(raw) == 0 || string(raw) == "{}") {
		return nil
	}
	given := map[string]any{}
	if len(raw) > 0 && json.Unmarshal(raw, &given) != nil {
		return badInput("the arguments must be one JSON object with numbers that fit; %s", a.takes())
	}
	for name := range given {
		if a.checks[name] == nil {
			return badInput("there is no argument %.60q; %s", name, a.takes())
		}
	}
	for _, name := range a.required {
		if _, ok := given[name]; !ok {
			return badInput("the argument %s is missing; %s", name, a.takes())
		}
	}
	for _, name := range a.names {
		if value, ok := given[name]; ok && a.checks[name].Validate(value) != nil {
			return a.refuse(name, value)
		}
	}
	return decodeArguments(raw, given, into)
}

func (a *arguments) refuse(name string, value any) error {
	text, isText := value.(string)
	if isText && a.checks[name].Schema().Pattern == podNamePattern {
		if err := pods.CheckName(text); err != nil {
			return err // it proposes a name that would do
		}
	}
	return &toolError{text: a.refusals[name]}
}

// decodeArguments prefers raw, which spares large contents a second encoding.
// Whole numbers that are written otherwise, as 60.0 is, only decode after one.
func decodeArguments(raw json.RawMessage, given map[string]any, into any) error {
	if len(raw) == 0 || json.Unmarshal(raw, into) == nil {
		return nil
	}
	again, err := json.Marshal(given)
	if err == nil {
		err = json.Unmarshal(again, into)
	}
	if err != nil {
		return badInput("an argument has the wrong type or a number that is too large")
	}
	return nil
}

func (a *arguments) takes() string {
	if len(a.names) == 0 {
		return "this tool takes none"
	}
	return "this tool takes " + strings.Join(a.names, ", ")
}

func badInput(format string, args ...any) error {
	return &toolError{text: "bad input: " + fmt.Sprintf(format, args...)}
}

// refusal says what a property has to be.
func refusal(name string, s *jsonschema.Schema) string {
	text := fmt.Sprintf("bad input: %s must be %s", name, wanted(s))
	if s.Description != "" {
		text += " (" + s.Description + ")"
	}
	return text
}

func wanted(s *jsonschema.Schema) string {
	switch {
	case len(s.Enum) > 0:
		return "one of " + strings.Trim(fmt.Sprint(s.Enum), "[]")
	case s.Type == "integer" && s.Maximum != nil:
		return fmt.Sprintf("a whole number from %.0f to %.0f", *s.Minimum, *s.Maximum)
	case s.Type == "integer" && s.Minimum != nil:
		return fmt.Sprintf("a whole number from %.0f on", *s.Minimum)
	case s.Type == "boolean":
		return "true or false"
	case slices.Contains(s.Types, "array"):
		return "a list of text"
	case s.Type == "object":
		return "an object whose values are text"
	case s.Pattern == podNamePattern:
		return "text of at most 63 lower-case letters, digits and hyphens"
	case s.Pattern != "":
		return "text of the form " + s.Pattern
	case s.MinLength != nil:
		return "text that is not empty"
	}
	return "text"
}
