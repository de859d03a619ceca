package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/store/storetest"
)

// BenchmarkProgramGrowth measures the program from outside, with stores of more and more
// access tokens: the time from its start to its first answer, beside that which the same
// file takes to print its version; and what it has in memory: idle, and after 5,000 calls
// with as many tokens, if there are, and 1,000 refreshes. Anonymous memory is what the
// machine cannot have back; the rest is of files, the store's pages among them.
func BenchmarkProgramGrowth(b *testing.B) {
	path := buildProgram(b)
	for _, tokens := range storetest.Growth() {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			dir, port := b.TempDir(), freePort(b)
			big := storetest.NewBig(b, filepath.Join(dir, "podgate.db"), "http://localhost:"+port+"/api/mcp", time.Now(), storetest.Grown(tokens))
			var first, bare time.Duration
			for b.Loop() {
				began := time.Now()
				if err := exec.Command(path, "version").Run(); err != nil {
					b.Fatal(err)
				}
				bare += time.Since(began)
				began = time.Now()
				p := launchAt(b, path, dir, "127.0.0.1:"+port)
				first += time.Since(began)
				b.StopTimer()
				time.Sleep(time.Second) // nothing to wait for: idling is what is measured
				idle := memoryOf(b, p.cmd.Process.Pid)
				useStore(b, "http://127.0.0.1:"+port, big)
				used := memoryOf(b, p.cmd.Process.Pid)
				p.end(b)
				b.ReportMetric(idle["VmRSS:"], "idle-MiB")
				b.ReportMetric(idle["RssAnon:"], "idle-anonymous-MiB")
				b.ReportMetric(used["VmRSS:"], "used-MiB")
				b.ReportMetric(used["RssAnon:"], "used-anonymous-MiB")
				b.StartTimer()
			}
			b.ReportMetric(float64(first.Microseconds())/1000/float64(b.N), "first-answer-ms")
			b.ReportMetric(float64(bare.Microseconds())/1000/float64(b.N), "version-ms")
		})
	}
}

// useStore calls a tool with many tokens and refreshes connections, from eight clients.
func useStore(b *testing.B, origin string, big storetest.Big) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	fromEight(min(5000, big.Size.Tokens), func(i int) {
		post(b, client, origin+"/api/mcp", big.Token(i), toolCall("list_presets", "{}"))
	})
	fromEight(min(1000, big.Size.Connections), func(i int) {
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {string(big.Client(i))}, "refresh_token": {big.Refresh(i)}}
		res, err := client.PostForm(origin+"/api/oauth/token", form)
		if err != nil {
			b.Error(err)
			return
		}
		defer res.Body.Close()
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
			b.Error(res.StatusCode, err)
		}
	})
}

func fromEight(n int, do func(int)) {
	var all sync.WaitGroup
	for first := range 8 {
		all.Go(func() {
			for i := first; i < n; i += 8 {
				do(i)
			}
		})
	}
	all.Wait()
}

// memoryOf reads from proc(5) what a process has in memory, in MiB, by the kind of it.
func memoryOf(b *testing.B, pid int) map[string]float64 {
	b.Helper()
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		b.Skip("memory is read from /proc, which this system does not have")
	}
	found := map[string]float64{}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[2] == "kB" {
			if found[fields[0]], err = strconv.ParseFloat(fields[1], 64); err != nil {
				b.Fatal(err)
			}
			found[fields[0]] /= 1024
		}
	}
	return found
}
