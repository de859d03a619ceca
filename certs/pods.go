package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"podgate/pods/wire"

	"github.com/caddyserver/certmagic"
)

const (
	// believeRefusal is how long a name that was no pod's is refused without
	// another look. It is short because a pod of that name may be made.
	believeRefusal = 10 * time.Second
	maxRefused     = 4096

	// maxWaiting is how many handshakes may wait for the authority at a time.
	maxWaiting = 64
	// handshakeTime is how long such a handshake waits.
	handshakeTime = time.Minute

	// firstRest and longestRest bound how long a pod that the authority refused
	// is left alone: the pause doubles with each refusal.
	firstRest   = 2 * time.Minute
	longestRest = time.Hour

	// keepDeleted is how long the certificate of a deleted pod is kept. Its team
	// may take the name again for as long, and authorities give out only a few
	// certificates a week for one name.
	keepDeleted = 8 * 24 * time.Hour
)

var (
	errTooMany = errors.New("as many certificates for pods as the configuration allows were asked for")
	errBusy    = errors.New("too many handshakes wait for the certificate authority")
	errResting = errors.New("the certificate authority refused this name a short while ago")
)

// rest is the pause after a refusal.
type rest struct {
	until time.Time
	pause time.Duration
}

// podCertificate answers a handshake for a pod's name: with the certificate
// that is there, or with one that the authority is asked for now. A name that
// is no pod's gets no further than the store.
func (a *authority) podCertificate(hello *tls.ClientHelloInfo, pod string) (*tls.Certificate, error) {
	if err := a.exists(pod); err != nil {
		return nil, err
	}
	name := pod + "." + a.m.cfg.PodsDomain
	if a.isResting(name) {
		return a.stored(name)
	}
	if c := a.newest(name); c != nil && a.m.cfg.Now().Before(c.Leaf.NotAfter) {
		return a.pods.GetCertificate(hello) // renewed behind the visitor's back, if it is time
	}
	select {
	case a.waiting <- struct{}{}:
		defer func() { <-a.waiting }()
	default:
		return nil, errBusy
	}
	// The server gives a handshake less time than an authority takes.
	if hello.Conn != nil {
		if err := hello.Conn.SetDeadline(a.m.cfg.Now().Add(handshakeTime + 10*time.Second)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(a.ctx, handshakeTime)
	defer cancel()
	return a.pods.GetCertificateWithContext(ctx, hello)
}

// stored returns what there is of a pod's certificate without asking anybody.
func (a *authority) stored(name string) (*tls.Certificate, error) {
	if c := a.newest(name); c != nil {
		return c, nil
	}
	c, err := a.own.CacheManagedCertificate(a.ctx, name)
	if err != nil {
		return nil, errResting
	}
	return &c.Certificate, nil
}

// exists reports whether there is such a pod. That there is none is believed
// for a short while.
func (a *authority) exists(pod string) error {
	now := a.m.cfg.Now()
	a.mu.Lock()
	until, known := a.refused[pod]
	a.mu.Unlock()
	if known && now.Before(until) {
		return errNotOurs
	}
	found, err := a.m.cfg.Pod(pod)
	if err != nil {
		return fmt.Errorf("look for the pod: %w", err)
	}
	if found {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.refused) >= maxRefused {
		clear(a.refused) // costs a look in the store for each, no more
	}
	a.refused[pod] = now.Add(believeRefusal)
	return errNotOurs
}

// decide is certmagic's question before it loads, asks for or renews the
// certificate of a name that somebody asked for.
func (a *authority) decide(_ context.Context, name string) error {
	pod, below := strings.CutSuffix(name, "."+a.m.cfg.PodsDomain)
	if !below || !wire.Label(pod) {
		return errNotOurs
	}
	return a.exists(pod)
}

func (a *authority) isResting(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.m.cfg.Now().Before(a.resting[name].until)
}

// podIssuer is the authority as pods' names reach it: within bounds, and
// without a second try while somebody waits.
type podIssuer struct {
	*certmagic.ACMEIssuer
	a *authority
}

// Issue implements certmagic.Issuer.
func (i podIssuer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	name := request.DNSNames[0] // certmagic asks for one name at a time
	if err := i.a.spend(ctx, name); err != nil {
		return nil, certmagic.ErrNoRetry{Err: err}
	}
	issued, err := i.ACMEIssuer.Issue(ctx, request)
	if err != nil {
		i.a.leaveAlone(name)
		return nil, certmagic.ErrNoRetry{Err: err}
	}
	i.a.mu.Lock()
	defer i.a.mu.Unlock()
	delete(i.a.resting, name)
	return issued, nil
}

// spend takes one request out of what the configuration allows an hour and in
// all, or says that there is none left. A renewal is not one more in all.
func (a *authority) spend(ctx context.Context, name string) error {
	live, renewal, err := a.live(ctx, name)
	if err != nil {
		return err
	}
	now := a.m.cfg.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.asked) > 0 && now.Sub(a.asked[0]) >= time.Hour {
		a.asked = a.asked[1:]
	}
	wait := longestRest
	if len(a.asked) > 0 {
		wait = time.Hour - now.Sub(a.asked[0])
	}
	if len(a.asked) >= a.auto.PodsPerHour || !renewal && live >= a.auto.PodsMax {
		a.resting[name] = rest{until: now.Add(min(wait, 10*time.Minute))}
		return errTooMany
	}
	a.asked = append(a.asked, now)
	return nil
}

// leaveAlone begins or doubles the pause of a name.
func (a *authority) leaveAlone(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pause := min(max(firstRest, 2*a.resting[name].pause), longestRest)
	a.resting[name] = rest{until: a.m.cfg.Now().Add(pause), pause: pause}
}

// live counts the certificates of pods that there are, and says whether one of
// them is for name.
func (a *authority) live(ctx context.Context, name string) (n int, has bool, err error) {
	pods, err := a.kept(ctx)
	for _, pod := range pods {
		found, err := a.m.cfg.Pod(pod)
		if err != nil {
			return 0, false, err
		}
		if found {
			n++
		}
		has = has || pod+"."+a.m.cfg.PodsDomain == name
	}
	return n, has, err
}

// kept lists the pods, deleted ones included, whose certificates are in the
// folder.
func (a *authority) kept(ctx context.Context) ([]string, error) {
	prefix := certmagic.StorageKeys.CertsPrefix(a.key)
	if !a.own.Storage.Exists(ctx, prefix) {
		return nil, nil
	}
	keys, err := a.own.Storage.List(ctx, prefix, false)
	if err != nil {
		return nil, fmt.Errorf("list the certificates: %w", err)
	}
	var pods []string
	for _, key := range keys {
		if pod, below := strings.CutSuffix(path.Base(key), "."+a.m.cfg.PodsDomain); below && wire.Label(pod) && path.Base(key) != a.m.cfg.Host {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// prune forgets the certificates of pods that are gone: at once in memory, in
// the folder when nobody can take the name again. Expired ones of any name go.
func (a *authority) prune(ctx context.Context) {
	pods, err := a.kept(ctx)
	if err != nil {
		a.m.log.Error("certificates of deleted pods could not be looked for", "error", err)
		return
	}
	for _, pod := range pods {
		if found, err := a.m.cfg.Pod(pod); err == nil && !found {
			a.forget(ctx, pod+"."+a.m.cfg.PodsDomain)
		}
	}
	err = certmagic.CleanStorage(ctx, a.own.Storage, certmagic.CleanStorageOptions{
		Logger: a.zap, Interval: 24 * time.Hour, OCSPStaples: true, ExpiredCerts: true, ExpiredCertGracePeriod: keepDeleted,
	})
	if err != nil && ctx.Err() == nil {
		a.m.log.Warn("expired certificates could not be removed", "error", err)
	}
}

func (a *authority) forget(ctx context.Context, name string) {
	a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
	a.m.settle(name)
	a.mu.Lock()
	delete(a.resting, name)
	a.mu.Unlock()
	raw, err := a.own.Storage.Load(ctx, certmagic.StorageKeys.SiteCert(a.key, name))
	if err != nil {
		return // half written: CleanStorage knows what to do
	}
	if block, _ := pem.Decode(raw); block != nil {
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err == nil && a.m.cfg.Now().Sub(leaf.NotBefore) < keepDeleted {
			return
		}
	}
	if err := a.own.Storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(a.key, name)); err != nil {
		a.m.log.Warn("the certificate of a deleted pod could not be removed", "name", name, "error", err)
	}
}
