package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"podgate/account"
	"podgate/internal/service"
	"podgate/store/storetest"
)

// manager is a service manager that hears what is told to it.
type manager struct {
	t    *testing.T
	at   string
	conn *net.UnixConn
}

func newManager(t *testing.T) manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "manager") // t.TempDir's name may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	at := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: at})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return manager{t, at, conn}
}

// env is what a process of it has, which is to say every so often that it is not hung.
func (m manager) env(watchdog time.Duration) []string {
	return []string{"NOTIFY_SOCKET=" + m.at, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds())}
}

// hears waits for a word that begins like want; what comes before it is dropped.
func (m manager) hears(want string) {
	m.t.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 4096)
	for {
		n, err := m.conn.Read(b)
		if err != nil {
			m.t.Fatalf("%q was not said: %v", want, err)
		}
		if strings.HasPrefix(string(b[:n]), want) {
			return
		}
	}
}

// heard is what was said and not read yet.
func (m manager) heard() (said string) {
	m.t.Helper()
	raw, err := m.conn.SyscallConn() // whose Read does not look once a deadline has passed
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			b := make([]byte, 4096)
			if n, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT); err == nil {
				said = string(b[:n])
			}
			return true
		})
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return said
}

// A manager hears when the server is up, that it is not hung, of reloads, and of its end.
func TestManagerHears(t *testing.T) {
	t.Parallel()
	m, s := newManager(t), newTestServer(t, t.TempDir())
	s.launch(append(testEnv(), m.env(time.Second)...), s.Stdout, s.Log, s.args(nil))
	m.hears("READY=1\nSTATUS=ready at http://localhost:")
	m.hears("WATCHDOG=1")
	if err := s.proc.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.hears("RELOADING=1\nMONOTONIC_USEC=")
	m.hears("READY=1")
	if code := s.Stop(); code != exitDone {
		t.Errorf("code %d\n%s", code, s.Log)
	}
	m.hears("STOPPING=1")
}

// A server that fails to answer, or does not come to it, says nothing to its watchdog.
func TestWatchdogWantsAnswers(t *testing.T) {
	t.Parallel()
	m, log := newManager(t), &syncBuffer{}
	var status, asked atomic.Int64
	let := make(chan struct{})
	status.Store(http.StatusInternalServerError)
	lookup := testEnv()
	lookup = append(lookup, m.env(200*time.Millisecond)...)
	srv := &server{
		manager:  service.ManagerOf(lookup.Lookup),
		log:      slog.New(slog.NewTextHandler(log, nil)),
		accounts: account.New(account.Config{DB: storetest.New(t), Now: time.Now}),
		answer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host != "localhost" || r.URL.Path != "/healthz" {
				t.Errorf("asks %s%s", r.Host, r.URL.Path)
			}
			if asked.Add(1) > 2 {
				<-let
			}
			w.WriteHeader(int(status.Load()))
		}),
	}
	srv.keepAlive()
	defer func() { _ = srv.stop() }()
	eventually(t, func() bool { return asked.Load() > 2 && strings.Contains(log.String(), "within=50ms") })
	if n := strings.Count(log.String(), "/healthz answers 500"); n != 2 || asked.Load() != 3 {
		t.Errorf("%d failures of %d questions\n%s", n, asked.Load(), log)
	}
	if said := m.heard(); said != "" {
		t.Errorf("said %q while it did not answer", said)
	}
	status.Store(http.StatusOK)
	close(let)
	m.hears("WATCHDOG=1")
}

// Lines of the journal have a priority, by which it shows them, and other outputs none.
func TestPriorities(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	stream := func(v string) func(string) (string, bool) { return func(string) (string, bool) { return v, v != "" } }
	own := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	if !toJournal(stream(own), f) || toJournal(stream(own+"1"), f) || toJournal(stream(""), f) || toJournal(stream(own), &strings.Builder{}) {
		t.Error("the journal is not told from other outputs")
	}
	var out strings.Builder
	held := holdLog(&out, time.Hour)
	held.priorities = true
	held.release()
	log := newLogger("text", slog.LevelInfo, held).With("pod", "a").WithGroup("g")
	log.Debug("not shown")
	log.Info("one")
	log.Warn("two", "x", "y\nz")
	log.Error("three")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%q", lines)
	}
	for i, want := range []string{"<6>time=", "<4>time=", "<3>time="} {
		if !strings.HasPrefix(lines[i], want) || !strings.Contains(lines[i], "pod=a") {
			t.Errorf("%q, want %q", lines[i], want)
		}
	}
}
