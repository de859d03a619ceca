package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"podgate/internal/mainthread"
)

// Available returns nil when this process can give its place to another program.
func Available() error {
	if !mainthread.Serves() {
		return errors.New("this server is part of another program, which cannot be replaced while it runs")
	}
	return nil
}

// New returns an empty baton of this program.
func New() (*Baton, error) {
	self, err := os.Open("/proc/self/exe") // also when another file has taken its place
	if err != nil {
		return nil, err
	}
	defer self.Close()
	image, err := high(int(self.Fd()))
	if err != nil {
		return nil, err
	}
	return &Baton{state: state{Format: Format, Process: os.Getpid(), Image: image, Parts: map[string]json.RawMessage{}}}, nil
}

func high(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, lowest)
	if err != nil {
		return -1, fmt.Errorf("keep a descriptor: %w", err)
	}
	return n, nil
}

// Keep has the descriptor stay open for the next program and returns the number by which
// that finds it. The file itself stays the caller's. No child inherits it.
func (b *Baton) Keep(c syscall.Conn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { n, failed = high(int(fd)) }); err != nil || failed != nil {
		return -1, errors.Join(err, failed)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.Files = append(b.state.Files, n)
	return n, nil
}

// Forget closes a descriptor that was kept and does not go over after all.
func (b *Baton) Forget(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.state.Files, n); i >= 0 {
		b.state.Files = slices.Delete(b.state.Files, i, i+1)
		_ = unix.Close(n) // it is open
	}
}

// File opens a descriptor that the program before has kept. Its own stays open for the
// case that the baton is given back.
func (b *Baton) File(n int, name string) (*os.File, error) {
	fd, err := b.FD(n)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// FD is File for who wants the bare descriptor, which is theirs to close.
func (b *Baton) FD(n int) (int, error) {
	if !b.has(n) {
		return -1, ErrNone
	}
	return unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 3)
}

// Drop closes what the baton keeps, and forgets what was said, in which there are keys: the
// next program serves, or none is to.
func (b *Baton) Drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fd := range append(b.state.Files, b.state.Image) {
		_ = unix.Close(fd) // only a number that is not open fails
	}
	clear(b.state.Parts)
	b.state.Files, b.dropped = nil, true
}

// Pass executes the next program in this process. It returns only when that cannot be.
func (b *Baton) Pass(p *Program, args, env []string) error {
	return b.execute(int(p.File.Fd()), "", args, env)
}

// Back gives the baton to the program from which it came, which takes over again and says
// why. It returns only when that cannot be.
func (b *Baton) Back(why string, args, env []string) error {
	if err := b.CanGoBack(); err != nil {
		return err
	}
	if why == "" {
		why = "it did not say why"
	}
	return b.execute(b.state.Image, why, args, env)
}

func (b *Baton) execute(program int, failure string, args, env []string) error {
	raw, fds, err := b.written(failure)
	if err != nil {
		return err
	}
	memory, err := sealed(raw)
	if err != nil {
		return err
	}
	defer unix.Close(memory)
	fds = append(fds, memory)
	env = append(Without(env), Variable+"="+strconv.Itoa(memory))
	// A hangup would end the next program before it looks out for it. To ignore one is
	// handed on, and ends with its first look.
	signal.Ignore(syscall.SIGHUP)
	mainthread.Do(func() {
		syscall.ForkLock.Lock() // no child inherits them
		defer syscall.ForkLock.Unlock()
		if err = inherit(fds, 0); err == nil {
			err = syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", program), args, env)
		}
		err = errors.Join(err, inherit(fds, unix.FD_CLOEXEC))
	})
	return fmt.Errorf("execute the next program: %w", err)
}

func inherit(fds []int, flag int) error {
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	return nil
}

const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// sealed is a file in memory that nobody can change any more, and no other user can open:
// there are keys in it.
func sealed(content []byte) (int, error) {
	fd, err := unix.MemfdCreate("podgate-handover", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("hand over: %w", err)
	}
	f := os.NewFile(uintptr(fd), "handover")
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return -1, fmt.Errorf("hand over: %w", err)
	}
	if err := errors.Join(f.Chmod(0o400), Seal(f.Fd())); err != nil {
		return -1, fmt.Errorf("hand over: %w", err)
	}
	return high(int(f.Fd()))
}

// sealTries are a few seconds: the kernel itself waits 150 ms each time for pages that it
// still works on (mm/memfd.c), which a busy machine may need longer for.
const sealTries = 20

// Seal has nobody change a file in memory any more, be it its content, its size or this.
func Seal(fd uintptr) (err error) {
	for range sealTries {
		if _, err = unix.FcntlInt(fd, unix.F_ADD_SEALS, seals); !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return err
}

// Received returns the baton that this program was executed with; nil when it was started
// in another way, whatever the environment says: it counts when it names a sealed file in
// memory. It comes before anything else in the process. Nothing that is kept is inherited
// by a child afterwards.
func Received(env []string) (*Baton, error) {
	var named string
	for _, s := range env {
		if value, ok := strings.CutPrefix(s, Variable+"="); ok {
			named = value
		}
	}
	fd, err := strconv.Atoi(named)
	if err != nil || fd < lowest {
		return nil, nil
	}
	if got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || got != seals {
		return nil, nil
	}
	memory := os.NewFile(uintptr(fd), "handover")
	defer memory.Close()
	raw, err := io.ReadAll(io.NewSectionReader(memory, 0, maxState+1)) // check judges what is cut off
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	b := &Baton{}
	if err := json.Unmarshal(raw, &b.state); err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	if err := b.state.check(os.Getpid()); err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	if b.state.Parts == nil {
		b.state.Parts = map[string]json.RawMessage{}
	}
	if err := inherit(append(append([]int{}, b.state.Files...), b.state.Image), unix.FD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	// It is called after the number by which it was executed.
	_ = os.WriteFile("/proc/self/comm", []byte("podgate"), 0) // for people only
	return b, nil
}

// Open opens the program at path, if it is fit to take over: a file that nobody but root
// and this user can change.
func Open(path string) (*Program, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe there would wait
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := fit(f); err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	fd, err := high(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	return &Program{os.NewFile(uintptr(fd), path), path}, nil
}

func fit(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return errors.New("is no file")
	case owner != 0 && int(owner) != os.Geteuid():
		return fmt.Errorf("belongs to user %d; it must be root's, or of the user that podgate runs as", owner)
	case mode.Perm()&0o022 != 0:
		return fmt.Errorf("can be changed by others (mode %04o); chmod 755 keeps them from it", mode.Perm())
	case mode.Perm()&0o111 == 0:
		return fmt.Errorf("cannot be executed (mode %04o); chmod 755 allows it", mode.Perm())
	}
	return nil
}

// Argument is the path by which a child executes the program.
func (p *Program) Argument() string { return fmt.Sprintf("/proc/self/fd/%d", p.File.Fd()) }

// Running reports whether it is the program that runs.
func (p *Program) Running() bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	info, err := p.File.Stat()
	return err == nil && os.SameFile(self, info)
}
