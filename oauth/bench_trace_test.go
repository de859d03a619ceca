package oauth

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"podgate/history"
)

// BenchmarkTimeline measures what the timeline adds to the check of an access
// token: without it, with it, and while strangers call without a token, when now
// and then a call looks whether its visitor is one of them.
func BenchmarkTimeline(b *testing.B) {
	for _, c := range []struct {
		name             string
		told, challenged bool
	}{{"without", false, false}, {"with", true, false}, {"with, during a scan", true, true}} {
		f := newFixture(b, func(k *Config) {
			if c.told {
				k.History = history.New(history.Config{DB: k.DB, Now: k.Now})
			}
		})
		client := f.register()
		headers := make([][]string, benchSize)
		for i := range headers {
			headers[i] = []string{"Bearer " + f.mint(client)}
		}
		if c.challenged {
			f.send("POST", "/api/mcp", "{}")
		}
		handler := f.Bearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		b.Run(c.name, func(b *testing.B) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("POST", "/api/mcp", nil)
			r.Header.Set("User-Agent", "claude-code/2.0 (cli)")
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				r.Header["Authorization"] = headers[n%len(headers)]
				handler.ServeHTTP(w, r)
			}
		})
	}
}

// BenchmarkFlood measures a stranger's request for a discovery document with
// the timeline, the writing included.
func BenchmarkFlood(b *testing.B) {
	f := withHistory(b)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		f.send("GET", "/.well-known/oauth-protected-resource", "", "User-Agent: scan "+headerOf(n))
		if n%10_000 == 0 {
			f.must(f.db.FlushHistory())
		}
	}
}

func headerOf(n int) string {
	return string(rune('a'+n%26)) + string(rune('a'+n/26%26)) + string(rune('a'+n/676%26))
}
