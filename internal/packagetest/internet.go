package packagetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/pods/egress"
)

// Internet is a world for pods in which there are the given hosts and nothing else. They
// answer HTTP on any port. Nothing leaves this machine.
func Internet(t testing.TB, hosts map[string]http.Handler) egress.Config {
	t.Helper()
	return world(t, hosts, httptest.NewServer(byHost(hosts)))
}

// SecureInternet is Internet whose hosts answer over TLS, on any port, with certificates
// of an authority that nobody knows. authority is its own certificate, in PEM.
func SecureInternet(t testing.TB, hosts map[string]http.Handler) (all egress.Config, authority []byte) {
	t.Helper()
	pair, authority := certify(t, slices.Collect(maps.Keys(hosts)))
	srv := httptest.NewUnstartedServer(byHost(hosts))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	srv.StartTLS()
	return world(t, hosts, srv), authority
}

func byHost(hosts map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := hosts[r.Host]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
}

func world(t testing.TB, hosts map[string]http.Handler, srv *httptest.Server) egress.Config {
	t.Cleanup(srv.Close)
	return egress.Config{
		Resolver: &names{hosts: hosts},
		Own:      func() ([]netip.Prefix, error) { return nil, nil },
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		},
	}
}

// certify makes an authority, and a certificate of it for the hosts.
func certify(t testing.TB, hosts []string) (pair tls.Certificate, authority []byte) {
	t.Helper()
	sign := func(about, by *x509.Certificate, key *ecdsa.PrivateKey, with any) []byte {
		t.Helper()
		about.NotBefore, about.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, about, by, &key.PublicKey, with)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "An authority of a test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1},
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, AuthorityKeyId: []byte{1},
	}
	authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sign(root, root, keys[0], keys[0])})
	return tls.Certificate{Certificate: [][]byte{sign(leaf, root, keys[1], keys[0])}, PrivateKey: keys[1]}, authority
}

// names is a resolver of the hosts of an Internet.
type names struct {
	net.Resolver
	hosts map[string]http.Handler
}

// LookupNetIP gives each host the same public address, which nobody dials.
func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if n.hosts[strings.TrimSuffix(host, ".")] != nil {
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
