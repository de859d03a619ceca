package config

import (
	"errors"
	"fmt"
	"net/url"
)

// Telemetry is the section [telemetry]: where traces go. Without an endpoint there are
// none.
type Telemetry struct {
	Endpoint    string `toml:"endpoint"`     // of an OpenTelemetry collector, for OTLP over HTTP
	HeadersFile string `toml:"headers_file"` // lines «Name: value» that it wants, such as a key
	Percent     int    `toml:"percent"`      // of the requests that are traced
	Proxied     bool   `toml:"proxied"`      // a trusted proxy says what trace a request belongs to
}

func (s *Settings) checkTelemetry(report func(string, error)) {
	t := s.Telemetry
	report("telemetry.headers_file", checkPath(t.HeadersFile))
	if t.Percent < 1 || t.Percent > 100 {
		report("telemetry.percent", fmt.Errorf("%d is not a percentage; write a number from 1 to 100", t.Percent))
	}
	if t.Endpoint != "" {
		report("telemetry.endpoint", checkCollector(t.Endpoint, t.HeadersFile != ""))
	}
}

// checkCollector accepts the base address of a collector. With a key in its headers it is
// https, or this machine's.
func checkCollector(raw string, secret bool) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is not the address of a collector; write it like %q, without /v1/traces", raw, "http://localhost:4318")
	}
	if secret && u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return errors.New("what telemetry.headers_file holds would cross the network in clear; write an https address")
	}
	return nil
}
