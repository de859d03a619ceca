//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/egress/netstack"
	"podgate/store"
)

// elsewhere is an internet that is one process: every public address that is
// dialled is one server of this test, which says what it was called.
type elsewhere struct {
	tcp, udp string
}

func (elsewhere) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	switch host {
	case "api.example.com.", "other.example.com.":
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	case "inner.example.com.":
		return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (elsewhere) LookupTXT(context.Context, string) ([]string, error) { return []string{"text"}, nil }
func (elsewhere) LookupMX(context.Context, string) ([]*net.MX, error) { return nil, nil }
func (elsewhere) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, nil
}

func (e elsewhere) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(address, "93.184.216.34:") && !strings.HasPrefix(address, "8.8.8.8:") {
		return nil, errors.New("nobody is there")
	}
	to := e.tcp
	if network == "udp" {
		to = e.udp
	}
	return egress.Connect(ctx, network, to)
}

// newElsewhere answers each line with itself, over TCP and UDP.
func newElsewhere(t testing.TB) elsewhere {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); p.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer c.Close(); _, _ = io.Copy(c, c) })
		}
	})
	all.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(b[:n], from)
		}
	})
	return elsewhere{l.Addr().String(), p.LocalAddr().String()}
}

var openToAll = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeInternet}}}

func gateTo(e elsewhere, p egress.Policy) *egress.Gate {
	return egress.NewGate(egress.Config{Resolver: e, Dial: e.dial, Own: func() ([]netip.Prefix, error) { return nil, nil }}, p)
}

func startWith(t testing.TB, r *Runtime, id store.PodID, g *egress.Gate) {
	t.Helper()
	if err := r.Start(t.Context(), pods.Spec{ID: id, Name: strings.ToLower(string(id)), Limits: limits, Gate: g}, quiet); err != nil {
		t.Fatal(err)
	}
}

const perlTCP = `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 5) or die "no: $!\n"; print $s "hello\n"; $s->flush; print scalar <$s>;' `

// perlUDP says why there is no answer to a datagram.
const perlUDP = `perl -MIO::Socket::INET -e '$SIG{ALRM} = sub { die "silence\n" }; alarm 20; $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], Proto => "udp") or die "no: $!\n"; $s->send("x"); $s->recv($b, 9); print "$!"' `

func TestPodNetwork(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	g := gateTo(newElsewhere(t), openToAll)
	startWith(t, r, "a", g)
	if got := command(t, r, "a", "cat /etc/resolv.conf; cat /proc/net/dev"); !strings.Contains(got.stdout, "198.18.0.1") || !strings.Contains(got.stdout, deviceName) {
		t.Fatalf("%+v", got)
	}
	for _, to := range []string{"api.example.com:443", "8.8.8.8:53"} {
		if got := command(t, r, "a", perlTCP+to); got.stdout != "hello\n" {
			t.Fatalf("%s: %+v", to, got)
		}
	}
	for to, want := range map[string]string{"inner.example.com:80": "refused", "10.0.0.7:80": "refused", "169.254.169.254:80": "refused", "8.8.8.8:25": "refused", "absent.example.com:80": "no:"} {
		if got := command(t, r, "a", perlTCP+to); got.code == 0 || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v", to, got)
		}
	}
	for _, to := range []string{"inner.example.com:80", "10.0.0.7:80", "8.8.8.8:25"} {
		if got := command(t, r, "a", perlUDP+to); got.stdout != "Connection refused" {
			t.Errorf("datagrams to %s: %+v", to, got)
		}
	}
	i := slices.IndexFunc(g.Ledger(), func(e egress.Entry) bool { return e.Target == "api.example.com" && e.Port == 443 && e.Network == "tcp" })
	eventually(t, "the ledger knows", func() bool {
		e := g.Ledger()[i]
		return e.Connections == 1
	})
	if lines := g.Refusals(); !slices.ContainsFunc(lines, func(l egress.Line) bool { return strings.Contains(l.Text, "inner.example.com port 80") }) {
		t.Errorf("%+v", lines)
	}
}

// gatewayOf is the process that takes a pod's packets, 0 when there is none.
func gatewayOf(r *Runtime, id store.PodID) int {
	in := r.running(id)
	in.mu.Lock()
	defer in.mu.Unlock()
	return int(in.network.pid.Load())
}

// A pod that asks for nothing costs no process, and the one that it gets has no
// rights: no capability, a filter, a network of its own that is empty, and no
// descriptors but what it needs.
func TestPodNetworkIsConfined(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	startWith(t, r, "a", gateTo(newElsewhere(t), openToAll))
	if command(t, r, "a", "true"); gatewayOf(r, "a") != 0 {
		t.Error("a pod without use for its network has a gateway")
	}
	if got := command(t, r, "a", perlTCP+"8.8.8.8:443"); got.stdout != "hello\n" {
		t.Fatalf("%+v", got)
	}
	pid := gatewayOf(r, "a")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/status", pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%q, %v", tasks, err)
	}
	for _, path := range tasks {
		of, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(of), want+"\n") {
				t.Errorf("%s lacks %q:\n%s", path, want, of)
			}
		}
	}
	if r.root && strings.Contains(string(status), "Uid:\t0\t") {
		t.Errorf("it runs as root:\n%s", status)
	}
	mine, theirs := namespace(t, os.Getpid(), "net"), namespace(t, pid, "net")
	if agent := namespace(t, r.running("a").process.Pid, "net"); theirs == mine || theirs == agent {
		t.Errorf("its network is %s, the server's %s, the pod's %s", theirs, mine, agent)
	}
	if in := command(t, r, "a", "ls /proc | grep -c '^[0-9]'; kill -9 -1; true"); in.code == 0 && gatewayOf(r, "a") != pid {
		t.Errorf("the pod reaches its gateway: %+v", in)
	}
}

// The bytes that a plan allows a second hold for a pod of it.
func TestPodNetworkRate(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	slow := limits
	slow.Network = 1 << 20
	if err := r.Start(t.Context(), pods.Spec{ID: "a", Name: "a", Limits: slow, Gate: gateTo(newElsewhere(t), openToAll)}, quiet); err != nil {
		t.Fatal(err)
	}
	const echoed = `perl -MIO::Socket::INET -MTime::HiRes=time -e '$t = time; $s = IO::Socket::INET->new(PeerAddr => "8.8.8.8:443") or die "no: $!\n";
unless (fork) { print $s "x" x (1 << 20); $s->flush; shutdown($s, 1); exit } { local $/; $n = length(<$s>) } printf "%d %d", $n, 1000 * (time - $t)'`
	got := command(t, r, "a", echoed)
	var n, ms int
	if _, err := fmt.Sscan(got.stdout, &n, &ms); err != nil || n != 1<<20 || ms < 900 {
		t.Errorf("a mebibyte there and back at one a second, the first free: %+v", got)
	}
}

// The server does not watch a pod's packets while a gateway does: each would wake
// it for nothing. It runs alone: one TUN is named as any other.
func TestPodNetworkWakesNobody(t *testing.T) {
	r := open(t, Config{})
	startWith(t, r, "a", gateTo(newElsewhere(t), openToAll))
	if got := command(t, r, "a", perlTCP+"8.8.8.8:443"); got.stdout != "hello\n" {
		t.Fatalf("%+v", got)
	}
	in := r.running("a")
	in.mu.Lock()
	packets := in.network.fd.Fd()
	in.mu.Unlock()
	want, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", packets))
	if err != nil {
		t.Fatal(err)
	}
	watched, err := watchedFiles()
	if err != nil || len(watched) == 0 {
		t.Fatalf("%q, %v", watched, err)
	}
	if slices.Contains(watched, want) {
		t.Errorf("%s is watched", want)
	}
}

// watchedFiles are what this process waits for by epoll (proc(5), fdinfo).
func watchedFiles() (watched []string, err error) {
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	for _, info := range infos {
		text, err := os.ReadFile(info)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "tfd:" {
				if to, err := os.Readlink("/proc/self/fd/" + fields[1]); err == nil {
					watched = append(watched, to)
				}
			}
		}
	}
	return watched, err
}

// namespace is skipped over where the kernel does not show it to us.
func namespace(t *testing.T, pid int, kind string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if errors.Is(err, os.ErrPermission) {
		return fmt.Sprintf("hidden, of %d", pid) // it does not let itself be looked at
	}
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// The end of the process that takes packets apart, which is what a defect in it
// would come to, costs that pod its connections, and nobody else anything.
func TestPodNetworkDies(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	e := newElsewhere(t)
	g := gateTo(e, openToAll)
	startWith(t, r, "a", g)
	startWith(t, r, "b", gateTo(e, openToAll))
	for _, id := range []store.PodID{"a", "b"} {
		if got := command(t, r, id, perlTCP+"8.8.8.8:443"); got.stdout != "hello\n" {
			t.Fatalf("%+v", got)
		}
	}
	first, other := gatewayOf(r, "a"), gatewayOf(r, "b")
	p, err := os.FindProcess(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gateway is gone", func() bool { return gatewayOf(r, "a") != first })
	eventually(t, "the network is back", func() bool {
		return command(t, r, "a", perlTCP+"8.8.8.8:443").stdout == "hello\n"
	})
	if gatewayOf(r, "b") != other || r.running("a") == nil {
		t.Error("others felt it")
	}
	eventually(t, "the ledger says what is open", func() bool {
		return !slices.ContainsFunc(g.Ledger(), func(e egress.Entry) bool { return e.Open != 0 })
	})
	if err := r.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

// hang stops the gateway of a pod, which then says and does nothing more.
func hang(t *testing.T, r *Runtime, id store.PodID) int {
	t.Helper()
	eventually(t, "it has a network", func() bool { return command(t, r, id, perlTCP+"8.8.8.8:443").stdout == "hello\n" })
	pid := gatewayOf(r, id)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return pid
}

// A gateway that hangs costs its pod the network, and nobody else anything: neither
// a change of policy nor the end of the pod waits for it.
func TestPodNetworkHangs(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	g := gateTo(newElsewhere(t), openToAll)
	startWith(t, r, "a", g)
	startWith(t, r, "b", gateTo(newElsewhere(t), openToAll))
	ended := make(chan error, 1)
	go func() {
		_, err := tryCommand(t.Context(), r, "a", `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => "8.8.8.8:443") or die; <$s>'`)
		ended <- err // of the pod that ended
	}()
	eventually(t, "a connection is open", func() bool {
		return slices.ContainsFunc(g.Ledger(), func(e egress.Entry) bool { return e.Open == 1 })
	})
	first := hang(t, r, "a")
	if got := command(t, r, "b", perlTCP+"8.8.8.8:443"); got.stdout != "hello\n" {
		t.Errorf("another pod: %+v", got)
	}
	g.SetPolicy(egress.Policy{Layers: []egress.Layer{{Who: egress.WhoTeam, Mode: egress.ModeNone}}})
	eventually(t, "what hung is gone", func() bool { return unix.Kill(first, 0) == unix.ESRCH })
	g.SetPolicy(openToAll)
	hang(t, r, "a")
	began := time.Now()
	if err := r.Stop(t.Context(), "a"); err != nil || time.Since(began) > gatewayPatience/2 {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	<-ended
}

// A gateway that hangs by itself is noticed and replaced.
func TestHungNetworkIsReplaced(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	r.patience = 5 * time.Second // twice what lies between two signs of life, and some
	startWith(t, r, "a", gateTo(newElsewhere(t), openToAll))
	first := hang(t, r, "a")
	eventually(t, "what hung is replaced", func() bool {
		return command(t, r, "a", perlTCP+"8.8.8.8:443").stdout == "hello\n"
	})
	if gatewayOf(r, "a") == first {
		t.Error("it is the one that hung")
	}
}

// What a policy takes away is cut while it is open.
func TestPodNetworkIsCut(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	g := gateTo(newElsewhere(t), openToAll)
	startWith(t, r, "a", g)
	ended := make(chan result, 1)
	go func() {
		// It waits for what never comes, and ends when the connection does.
		ended <- command(t, r, "a", `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => "8.8.8.8:443") or die; print $s "x\n"; $s->flush; <$s>; print STDERR "open\n"; <$s>;'`)
	}()
	eventually(t, "the connection is open", func() bool {
		return slices.ContainsFunc(g.Ledger(), func(e egress.Entry) bool { return e.Open == 1 })
	})
	g.SetPolicy(egress.Policy{Layers: []egress.Layer{{Who: egress.WhoTeam, Mode: egress.ModeNone}}})
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the connection goes on")
	}
	if got := command(t, r, "a", perlTCP+"8.8.8.8:443"); got.code == 0 || !strings.Contains(got.stderr, "refused") {
		t.Errorf("%+v", got)
	}
	g.SetPolicy(openToAll)
	if got := command(t, r, "a", perlTCP+"api.example.com:443"); got.stdout != "hello\n" {
		t.Errorf("%+v", got)
	}
}

// Connections to every port, and datagrams to many, harm nobody: the pod gets
// its share and the server answers on.
func TestPodNetworkFloods(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	e := newElsewhere(t)
	g := gateTo(e, openToAll)
	startWith(t, r, "a", g)
	startWith(t, r, "b", gateTo(e, openToAll))
	const flood = `perl -MSocket -MIO::Socket::INET -e 'for $p (1..4000) { socket($s, PF_INET, SOCK_STREAM, 0); IO::Handle::blocking($s, 0); connect($s, sockaddr_in($p + 1000, inet_aton("8.8.8.8"))); push @a, $s if @a < 600;
socket($u, PF_INET, SOCK_DGRAM, 0); send($u, "x", 0, sockaddr_in($p + 1000, inet_aton("8.8.8.8"))) } print scalar(@a)'`
	if got := command(t, r, "a", flood); got.stdout != "600" {
		t.Fatalf("%+v", got)
	}
	if got := command(t, r, "b", perlTCP+"8.8.8.8:443"); got.stdout != "hello\n" {
		t.Errorf("another pod: %+v", got)
	}
	open := 0
	for _, entry := range g.Ledger() {
		open += entry.Open
	}
	if open > egress.MaxOpen {
		t.Errorf("%d connections are open", open)
	}
	eventually(t, "the pod has its network again", func() bool {
		return command(t, r, "a", perlTCP+"api.example.com:443").stdout == "hello\n"
	})
}

// What a program in a pod tries with the network that it has. The internet of the
// test answers every request with a redirect to a private name.
func TestPodNetworkAttacks(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	e := newElsewhere(t)
	site := httptest.NewServer(http.RedirectHandler("http://inner.example.com/", http.StatusFound))
	defer site.Close()
	g := egress.NewGate(egress.Config{Resolver: e, Own: func() ([]netip.Prefix, error) { return nil, nil }, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "93.184.216.34:80" {
			return (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(site.URL, "http://"))
		}
		return e.dial(ctx, network, address)
	}}, openToAll)
	startWith(t, r, "a", g)
	const ioctl = `perl -MSocket -e 'socket($s, PF_INET, SOCK_DGRAM, 0) or die "socket: $!\n"; ioctl($s, %d, $r = pack("a16 S n a4 x16", "eth0", AF_INET, 0, inet_aton("192.168.1.5"))) or die "ioctl: $!\n"; print "done"'`
	for name, c := range map[string]struct{ line, want string }{
		"a redirect to a private name":    {`perl -MHTTP::Tiny -e '$r = HTTP::Tiny->new->get("http://api.example.com/"); print "$r->{status} $r->{url} $r->{content}"'`, "Could not connect to 'inner.example.com:80': Connection refused"},
		"an address of its own choice":    {fmt.Sprintf(ioctl, unix.SIOCSIFADDR), "ioctl: Operation not permitted"},
		"the device taken down":           {fmt.Sprintf(ioctl, unix.SIOCSIFFLAGS), "ioctl: Operation not permitted"},
		"another size of packets":         {fmt.Sprintf(ioctl, unix.SIOCSIFMTU), "ioctl: Operation not permitted"},
		"packets of its own making":       {`perl -MSocket -e 'socket($s, PF_INET, SOCK_RAW, 255) or die "raw: $!\n"'`, "raw: Operation not permitted"},
		"frames of its own making":        {`perl -e 'socket($s, 17, 3, 0x0300) or die "frames: $!\n"'`, "frames: Operation not permitted"},
		"a source that is not its own":    {`perl -MIO::Socket::INET -e 'IO::Socket::INET->new(LocalAddr => "192.168.1.5", PeerAddr => "8.8.8.8:443") or die "from: $!\n"'`, "from: Cannot assign requested address"},
		"the address that stands for all": {`perl -MIO::Socket::INET -e 'IO::Socket::INET->new(PeerAddr => "198.18.0.1:443", Timeout => 5) or die "no: $!\n"'`, "no: Connection refused"},
	} {
		if got := command(t, r, "a", c.line); !strings.Contains(got.stdout+got.stderr, c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if lines := g.Refusals(); !slices.ContainsFunc(lines, func(l egress.Line) bool { return strings.Contains(l.Text, "inner.example.com port 80") }) {
		t.Errorf("%+v", lines)
	}
	if got := command(t, r, "a", perlTCP+"8.8.8.8:443"); got.stdout != "hello\n" {
		t.Errorf("%+v", got)
	}
}

// A network of a pod ends with it, and with the server.
func TestPodNetworkEnds(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	startWith(t, r, "a", gateTo(newElsewhere(t), openToAll))
	if got := command(t, r, "a", perlTCP+"8.8.8.8:443"); got.stdout != "hello\n" {
		t.Fatalf("%+v", got)
	}
	pid := gatewayOf(r, "a")
	if err := r.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the gateway of a stopped pod lives: %v", err)
	}
}

// inNamespace runs f on a thread with a network of its own, which ends with it.
func inNamespace(t testing.TB, f func() error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes a network without a user namespace")
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Both kinds of devices carry streams and datagrams, whichever a machine has.
func TestDevices(t *testing.T) {
	t.Parallel()
	e := newElsewhere(t)
	for kind, create := range map[netstack.LinkKind]func() (int, device, error){netstack.LinkTUN: makeTUN, netstack.LinkPacket: makeVeth} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			inNamespace(t, func() error {
				fd, d, err := create()
				if kind == netstack.LinkTUN && errors.Is(err, os.ErrNotExist) {
					t.Log("there is no /dev/net/tun here")
					return nil
				}
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				if err := configure(); err != nil {
					return err
				}
				link, err := netstack.Link(d.Kind, fd, d.MAC)
				if err != nil {
					return err
				}
				ctx, cancel := context.WithCancel(context.Background())
				var served sync.WaitGroup
				served.Go(func() {
					if err := netstack.Serve(ctx, link, gateTo(e, openToAll), netstack.Options{}); err != nil {
						t.Error(err)
					}
				})
				defer served.Wait()
				defer cancel()
				return errors.Join(echoed("tcp", 1<<20), echoed("udp", 1400))
			})
		})
	}
}

// echoed sends and reads so many bytes.
func echoed(network string, size int) error {
	c, err := net.DialTimeout(network, "8.8.8.8:443", 40*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(40 * time.Second)); err != nil {
		return err
	}
	sent := bytes.Repeat([]byte{'x'}, size)
	go func() { _, _ = c.Write(sent) }()
	got := make([]byte, size)
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		return fmt.Errorf("%s: %w", network, err)
	}
	return nil
}

// Of two descriptors that come along with a message neither is kept.
func TestOneRightKeepsNoTwo(t *testing.T) {
	t.Parallel()
	var reads, writes [2]int
	for i := range reads {
		var p [2]int
		must(t, unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
		reads[i], writes[i] = p[0], p[1]
		defer unix.Close(p[0])
	}
	if fd, err := oneRight(unix.UnixRights(writes[:]...)); err == nil {
		t.Errorf("%d is taken", fd)
	}
	for _, fd := range reads {
		if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("it stays open: %d, %v", n, err)
		}
	}
}
