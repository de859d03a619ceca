//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a thread has open for itself counts as what its process has, and once for all
// that hold it.
func TestDeletedFilesOfThreads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// No os.File, which would be closed in a thread to which its number means another.
	hold := func(name string) (fd int, number uint64, err error) {
		path := filepath.Join(dir, name)
		if fd, err = unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err != nil {
			return 0, 0, err
		}
		var st unix.Stat_t
		err = errors.Join(unix.Fstat(fd, &st), os.Remove(path))
		return fd, st.Ino, err
	}
	fd, shared, err := hold("shared")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var alone uint64
	held, leave := make(chan error), make(chan struct{})
	defer close(leave)
	go func() {
		runtime.LockOSThread() // ends with the goroutine, and its files with it
		err := unix.Unshare(unix.CLONE_FILES)
		if err == nil {
			_, alone, err = hold("alone")
		}
		held <- err
		<-leave
	}()
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	p, err := readProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	d := &deletedFiles{device: st.Dev, seen: map[uint64]bool{}}
	d.open(p)
	if !d.seen[shared] || !d.seen[alone] {
		t.Errorf("shared: %t, of one thread: %t", d.seen[shared], d.seen[alone])
	}
	once := d.bytes
	if d.open(p); d.bytes != once {
		t.Errorf("counted twice: %d, then %d", once, d.bytes)
	}
}

func TestParseMapping(t *testing.T) {
	t.Parallel()
	const place = "7f0000001000-7f0000003000"
	for _, c := range []struct {
		line string
		long bool
		want mapping
		ok   bool
	}{
		{place + " rw-s 00002000 fe:00 247026                     /home/pod/a (deleted)", false, mapping{"fe:00 247026", 247026, place, 0x4000}, true},
		{place + " rw-s 00002000 fe:00 247026                     /home/pod/a b (deleted) (deleted)", false, mapping{"fe:00 247026", 247026, place, 0x4000}, true},
		{place + " rw-s 00002000 fe:00 247026                     /home/pod/a", false, mapping{}, false},
		{place + " rw-s 00000000 00:15 12                         /dev/shm/a (deleted)", false, mapping{"00:15 12", 12, place, 0}, true},
		{place + " rw-s 00000000 fe:00 247026                     /home/pod/" + strings.Repeat("d/", 4000), true, mapping{"fe:00 247026", 247026, place, 0x2000}, true},
		{place + " rw-s 7ffffffffffff000 fe:00 247026             /home/pod/a (deleted)", false, mapping{"fe:00 247026", 247026, place, 1<<63 - 1}, true},
		{place + " rw-p 00000000 00:00 0 ", false, mapping{}, false},
		{place + " (deleted)", false, mapping{}, false},
		{"7f0000003000-7f0000001000 rw-s 00002000 fe:00 247026 /home/pod/a (deleted)", false, mapping{}, false},
		{"", true, mapping{}, false},
	} {
		if got, ok := parseMapping(c.line, c.long); ok != c.ok || ok && got != c.want {
			t.Errorf("%.100q: %+v, %t, want %+v, %t", c.line, got, ok, c.want, c.ok)
		}
	}
}
