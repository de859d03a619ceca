package config

import "fmt"

// Metrics is the section [metrics]: where numbers for Prometheus are shown. Without
// either setting they are shown nowhere.
type Metrics struct {
	Listen    string `toml:"listen"`     // empty: at the public URL, for whoever has the token
	TokenFile string `toml:"token_file"` // empty: no token, so for this machine only
}

func (s *Settings) checkMetrics(report func(string, error)) {
	m := s.Metrics
	report("metrics.token_file", checkPath(m.TokenFile))
	if m.Listen == "" {
		return
	}
	err := checkListen(m.Listen)
	if err == nil && m.TokenFile == "" && !loopbackListen(m.Listen) {
		err = fmt.Errorf("%q shows the numbers to whoever comes; write an address of this machine alone such as %q, or set metrics.token_file", m.Listen, "localhost:9464")
	}
	report("metrics.listen", err)
}
