package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// Pair names a certificate with its chain and its key, both files in PEM.
type Pair struct{ Cert, Key string }

// fileCheck is how often files are looked at for a change.
const fileCheck = 10 * time.Second

// files serves certificates that another program keeps fresh.
type files struct {
	m    *Manager
	list atomic.Pointer[[]*tls.Certificate]
	seen []stamp
}

// stamp tells one state of a file from the next: also when it is replaced by
// one of the same size and age, as a link to another folder does.
type stamp struct {
	size    int64
	changed time.Time
	info    os.FileInfo
}

func (s stamp) same(o stamp) bool {
	return s.size == o.size && s.changed.Equal(o.changed) && (s.info == nil) == (o.info == nil) && (s.info == nil || os.SameFile(s.info, o.info))
}

// CheckFiles reports what is wrong with files that should serve host.
func CheckFiles(pairs []Pair, host string, now time.Time) error {
	list, err := loadPairs(pairs)
	if err != nil {
		return err
	}
	if find(list, host) == nil {
		return fmt.Errorf("none of the certificates is for %s", host)
	}
	if leaf := find(list, host).Leaf; now.After(leaf.NotAfter) {
		return fmt.Errorf("the certificate for %s ended on %s", host, leaf.NotAfter.Format(time.DateOnly))
	}
	return nil
}

func openFiles(m *Manager) (*files, error) {
	f := &files{m: m, seen: stamps(m.cfg.Files)}
	list, err := loadPairs(m.cfg.Files)
	if err != nil {
		return nil, err
	}
	f.list.Store(&list)
	m.judge(find(list, m.cfg.Host))
	return f, nil
}

func loadPairs(pairs []Pair) ([]*tls.Certificate, error) {
	var list []*tls.Certificate
	for _, p := range pairs {
		c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w", p.Cert, p.Key, err)
		}
		list = append(list, &c)
	}
	if len(list) == 0 {
		return nil, errors.New("no certificate is named")
	}
	return list, nil
}

func stamps(pairs []Pair) []stamp {
	var list []stamp
	for _, p := range pairs {
		for _, name := range []string{p.Cert, p.Key} {
			info, err := os.Stat(name)
			if err != nil {
				list = append(list, stamp{})
				continue
			}
			list = append(list, stamp{info.Size(), info.ModTime(), info})
		}
	}
	return list
}

// find returns the first certificate that is for the name.
func find(list []*tls.Certificate, name string) *tls.Certificate {
	for _, c := range list {
		if c.Leaf.VerifyHostname(name) == nil {
			return c
		}
	}
	return nil
}

func (f *files) certificate(hello *tls.ClientHelloInfo, pod string) (*tls.Certificate, error) {
	name := f.m.cfg.Host
	if pod != "" {
		name = pod + "." + f.m.cfg.PodsDomain
	}
	if c := find(*f.list.Load(), name); c != nil {
		return c, nil
	}
	return nil, errNotOurs
}

func (f *files) challenge(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errNotOurs }

func (f *files) serveChallenge(http.ResponseWriter, *http.Request, string) bool { return false }

func (f *files) leaves() map[string]*x509.Certificate {
	leaves := map[string]*x509.Certificate{f.m.cfg.Host: nil}
	if c := find(*f.list.Load(), f.m.cfg.Host); c != nil {
		leaves[f.m.cfg.Host] = c.Leaf
	}
	return leaves
}

// run looks at the files until ctx ends.
func (f *files) run(ctx context.Context) {
	every := f.m.cfg.CheckEvery
	if every == 0 {
		every = fileCheck
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.refresh()
		}
	}
}

// refresh reads files that have changed. What cannot be read, such as a
// certificate whose key is yet to be written, leaves the earlier ones in force;
// it is tried again at the next look.
func (f *files) refresh() {
	now := stamps(f.m.cfg.Files)
	if slices.EqualFunc(now, f.seen, stamp.same) {
		return
	}
	list, err := loadPairs(f.m.cfg.Files)
	if err != nil {
		if f.m.note(f.m.cfg.Host, err) {
			f.m.log.Error("the certificate files have changed and cannot be used; the earlier ones stay in force", "error", err)
		}
		return
	}
	f.seen = now
	f.list.Store(&list)
	f.m.settle(f.m.cfg.Host)
	f.m.judge(find(list, f.m.cfg.Host))
	f.m.log.Info("the certificate files are read anew", "expires", list[0].Leaf.NotAfter)
}

func (f *files) close() {}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
