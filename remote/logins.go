package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Login is what the command line holds of one server. Its tokens are no part of what
// can be printed.
type Login struct {
	Server  string    `json:"server"`         // its origin
	Team    string    `json:"team,omitempty"` // the slug of the one that it is for
	Since   time.Time `json:"since"`
	Default bool      `json:"default"` // the one that is meant where none is named
	secret  secret
}

// secret is what lets one in, and where more of it is to be had.
type secret struct {
	Client  string    `json:"client_id"`
	Access  string    `json:"access_token"`
	Refresh string    `json:"refresh_token,omitempty"`
	Expires time.Time `json:"expires"` // when Access does
	Token   string    `json:"token_endpoint"`
	Revoke  string    `json:"revocation_endpoint"`
}

// record is a login as it stands in the file.
type record struct {
	Server string    `json:"server"`
	Team   string    `json:"team,omitempty"`
	Since  time.Time `json:"since"`
	Secret secret    `json:"secret"`
}

// ErrNoLogin means that nobody has logged in to the server.
var ErrNoLogin = errors.New("there is no login")

// Logins are those of one person on one machine, in a folder of their own.
type Logins struct {
	Dir string
	Way http.RoundTripper // to any server
	Now func() time.Time
}

const (
	fileName  = "credentials.json"
	lockName  = "credentials.lock"
	lockAgain = 20 * time.Millisecond
	maxFile   = 1 << 20
)

// file is what is kept.
type file struct {
	Default string   `json:"default,omitempty"`
	Logins  []record `json:"logins"`
}

// List returns all logins, the default first.
func (l *Logins) List() ([]Login, error) {
	f, err := l.read()
	if err != nil {
		return nil, err
	}
	list := make([]Login, 0, len(f.Logins))
	for _, r := range f.Logins {
		list = append(list, Login{Server: r.Server, Team: r.Team, Since: r.Since, Default: r.Server == f.Default, secret: r.Secret})
	}
	slices.SortStableFunc(list, func(a, b Login) int {
		if a.Default != b.Default {
			if a.Default {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Server, b.Server)
	})
	return list, nil
}

// Find returns the login to a server as a person writes it, "" for the default.
// ErrNoLogin.
func (l *Logins) Find(server string) (Login, error) {
	list, err := l.List()
	if err != nil {
		return Login{}, err
	}
	if server == "" {
		if len(list) == 0 || !list[0].Default {
			return Login{}, ErrNoLogin
		}
		return list[0], nil
	}
	origin, err := Origin(server)
	if err != nil {
		return Login{}, err
	}
	for _, one := range list {
		if one.Server == origin {
			return one, nil
		}
	}
	return Login{}, fmt.Errorf("%w to %s; «podgate login %s» makes one", ErrNoLogin, origin, origin)
}

// keep adds a login in the place of an earlier one to the same server, and makes it
// the default.
func (l *Logins) keep(ctx context.Context, one Login) error {
	return l.change(ctx, func(f *file) error {
		f.Logins = append(others(f.Logins, one.Server), record{one.Server, one.Team, one.Since, one.secret})
		f.Default = one.Server
		return nil
	})
}

// forget takes a login away. Of those that are left the last one made is the
// default.
func (l *Logins) forget(ctx context.Context, server string) error {
	return l.change(ctx, func(f *file) error {
		f.Logins = others(f.Logins, server)
		if f.Default == server {
			f.Default = ""
			if n := len(f.Logins); n > 0 {
				f.Default = f.Logins[n-1].Server
			}
		}
		return nil
	})
}

func others(list []record, server string) []record {
	return slices.DeleteFunc(list, func(r record) bool { return r.Server == server })
}

// change reads the file, changes it and puts it back, while no other process does.
func (l *Logins) change(ctx context.Context, do func(*file) error) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := l.read()
	if err != nil {
		return err
	}
	if err := do(&f); err != nil {
		return err
	}
	return l.write(f)
}

// lock waits for all other processes. The file of the lock stays: a lock on one that
// was removed keeps out nobody.
func (l *Logins) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for logins: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(l.Dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(lockAgain)
	defer again.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // which lets go of it
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock the logins: %w", err), f.Close())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}

// read returns what is kept; nothing when there is no file. One that others can read
// is refused: what stands in it is theirs already.
func (l *Logins) read() (f file, err error) {
	name := filepath.Join(l.Dir, fileName)
	if err := ownOnly(l.Dir, 0o022, "write into"); err != nil {
		return f, err
	}
	if err := ownOnly(name, 0o077, "read"); err != nil {
		return f, err
	}
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	if len(raw) > maxFile || json.Unmarshal(raw, &f) != nil {
		return f, fmt.Errorf("%s is damaged; take it away and log in again", name)
	}
	return f, nil
}

// ownOnly refuses what belongs to somebody else or gives others these rights.
func ownOnly(name string, rights fs.FileMode, can string) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Perm()&rights != 0 {
		return fmt.Errorf("other people of this machine can %s %s, which holds tokens; log out, take these rights away with «chmod go= %s», and log in again", can, name, name)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user", name)
	}
	return nil
}

// write puts a new file in the place of the old one, or leaves that as it is.
func (l *Logins) write(f file) error {
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(l.Dir, fileName+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(raw, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(l.Dir, fileName))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep the login: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}
