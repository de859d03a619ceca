package handover

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// handed makes an environment that names a file in memory with this content.
func handed(t *testing.T, content any, seal int) []string {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, raw); err != nil {
		t.Fatal(err)
	}
	if seal != 0 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal); err != nil {
			t.Fatal(err)
		}
	}
	n, err := high(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(n) }) // Received may have
	return []string{"A=1", Variable + "=" + strconv.Itoa(n)}
}

// What a program hands over is what the next one gets, and no child of either.
func TestBaton(t *testing.T) {
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	n, err := b.Keep(w)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put("part", map[string]int{"pipe": n}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw, fds, err := b.written("it was bad")
	if err != nil {
		t.Fatal(err)
	}
	if err := inherit(fds, 0); err != nil { // as for the next program
		t.Fatal(err)
	}
	memory, err := sealed(raw)
	if err != nil {
		t.Fatal(err)
	}
	var about unix.Stat_t
	if err := unix.Fstat(memory, &about); err != nil || about.Mode&0o077 != 0 {
		t.Errorf("others can open what was handed over: %o, %v", about.Mode, err)
	}
	got, err := Received([]string{Variable + "=" + strconv.Itoa(memory)})
	if err != nil || got == nil || got.Failure() != "it was bad" || got.CanGoBack() == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	var part map[string]int
	if err := got.Get("part", &part); err != nil || part["pipe"] != n {
		t.Fatalf("%v, %v", part, err)
	}
	if err := got.Get("absent", &part); err != ErrNone {
		t.Errorf("%v", err)
	}
	for _, fd := range append(fds, memory) {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("children inherit %d", fd)
		}
	}
	out, err := exec.Command("ls", "/proc/self/fd").Output()
	if err != nil || strings.Contains(string(out), strconv.Itoa(n)+"\n") {
		t.Errorf("%s, %v", out, err)
	}
	f, err := got.File(n, "pipe")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.File(1, "stdout"); err == nil {
		t.Error("a descriptor was given out that was not kept")
	}
	if _, err := f.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got.Drop()
	all := make([]byte, 9)
	if n, err := r.Read(all); err != nil || string(all[:n]) != "hello" {
		t.Errorf("%q, %v", all[:n], err)
	}
	if n, err := r.Read(all); n != 0 {
		t.Errorf("something is open still: %v", err)
	}
	if err := got.Get("part", &part); err != ErrNone {
		t.Errorf("what a part has said is still known: %v", err)
	}
	if got.CanGoBack() == nil {
		t.Error("what serves could give back")
	}
}

// Only a sealed file in memory is a baton: the variable alone, which somebody may have set,
// says nothing.
func TestReceivedIgnores(t *testing.T) {
	good := state{Format: Format, Process: os.Getpid(), Image: 1}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := high(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(plain)
	for name, env := range map[string][]string{
		"nothing":            {"A=1"},
		"no number":          {Variable + "=x"},
		"standard input":     {Variable + "=0"},
		"what is not open":   {Variable + "=100000"},
		"a file":             {Variable + "=" + strconv.Itoa(plain)},
		"what can change":    handed(t, good, 0),
		"what can be longer": handed(t, good, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_WRITE),
	} {
		if b, err := Received(env); b != nil || err != nil {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
	if got := Without([]string{"A=1", Variable + "=7", Variable + "S=1"}); strings.Join(got, " ") != "A=1 "+Variable+"S=1" {
		t.Errorf("%q", got)
	}
}

// A baton that is one, and cannot be right, is an error.
func TestReceivedRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		content any
		says    string
	}{
		"another format":    {state{Format: Format + 1, Process: os.Getpid()}, "format"},
		"another process's": {state{Format: Format, Process: os.Getpid() + 1, Image: 600}, "meant for process"},
		"the same twice":    {state{Format: Format, Process: os.Getpid(), Image: 600, Files: []int{601, 601}}, "cannot be"},
		"standard output":   {state{Format: Format, Process: os.Getpid(), Image: 600, Files: []int{1}}, "cannot be"},
		"what is not open":  {state{Format: Format, Process: os.Getpid(), Image: 99999}, "bad file descriptor"},
		"nonsense":          {"hello", "take over"},
	} {
		if b, err := Received(handed(t, c.content, seals)); b != nil || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
}

func TestOpenWantsAFileOfOurs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Clone(self[:1000]), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if p.Running() {
		t.Error("it is not what runs")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		prepare func() error
		says    string
	}{
		"others may write":      {func() error { return os.Chmod(path, 0o757) }, "can be changed by others"},
		"the group may write":   {func() error { return os.Chmod(path, 0o775) }, "can be changed by others"},
		"nobody may execute it": {func() error { return os.Chmod(path, 0o644) }, "cannot be executed"},
		"a folder":              {func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) }, "is no file"},
		"a pipe":                {func() error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o755)) }, "is no file"},
		"nothing":               {func() error { return os.Remove(path) }, "no such file"},
		"another user's": {func() error {
			if os.Geteuid() != 0 {
				return syscall.ENOTSUP
			}
			return errors.Join(os.WriteFile(path, nil, 0o755), os.Chown(path, 12345, 12345))
		}, "belongs to user 12345"},
	} {
		_ = os.RemoveAll(path)
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := c.prepare(); err == syscall.ENOTSUP {
			continue
		} else if err != nil {
			t.Fatal(name, err)
		}
		if p, err := Open(path); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}
