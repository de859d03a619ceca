//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/binary"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// What waits in sockets is seen through a socket that was handed over, also when
// its sender is gone, and not when it was read.
func TestSocketMeter(t *testing.T) {
	t.Parallel()
	aloneInNetwork(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer closeAll([]*os.File{ours, theirs})
	if err := sendDiag(theirs); err != nil {
		t.Fatal(err)
	}
	m := receiveDiag(ours)
	if m == nil {
		t.Skip("this kernel does not tell about sockets")
	}
	defer m.close()
	before := heldIn(t, m, counted...)
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stream[1])
	const sent = 128 << 10
	if _, err := unix.Write(stream[0], make([]byte, sent)); err != nil {
		t.Fatal(err)
	}
	if n := heldIn(t, m, counted...) - before; n < sent/2 {
		t.Errorf("%d bytes more in sockets, %d were sent", n, sent)
	}
	pod := &instance{process: &os.Process{Pid: os.Getpid()}, sockets: m}
	if _, sockets, total := pod.memory(nil, func(int) int64 { return 0 }); sockets < sent/2 || total < sockets {
		t.Errorf("of what sockets hold %d bytes count, in all %d", sockets, total)
	}
	unix.Close(stream[0])
	if n := heldIn(t, m, counted...) - before; n < sent/2 {
		t.Errorf("%d bytes more in sockets, %d were sent and nobody has read them", n, sent)
	}
	netlink, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(netlink)
	before = heldIn(t, m, unix.AF_NETLINK)
	if err := askNetlink(netlink); err != nil {
		t.Fatal(err)
	}
	if n := heldIn(t, m, unix.AF_NETLINK) - before; n < 64<<10 {
		t.Errorf("%d bytes more in netlink sockets, one of which is full", n)
	}
	for _, family := range []byte{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_IPX} {
		_, err := m.used(family)
		if told := m.tells(family); (told == nil) != (err == nil) || family == unix.AF_IPX && told == nil {
			t.Errorf("family %d: whether it is told about: %v; what is told: %v", family, told, err)
		}
	}
	m.close()
	if n := heldIn(t, m, counted...); n != 0 {
		t.Errorf("closed: %d", n)
	}
	if err := (*socketMeter)(nil).tells(counted...); err == nil {
		t.Error("no meter tells about sockets")
	}
	if n, err := (*socketMeter)(nil).used(counted...); n != 0 || err == nil {
		t.Errorf("without a meter: %d, %v", n, err)
	}
}

// heldIn is what a meter says of families that the kernel tells about.
func heldIn(t *testing.T, m *socketMeter, families ...byte) int64 {
	t.Helper()
	n, err := m.used(families...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// aloneInNetwork gives a test that counts all sockets of a network namespace one of its
// own, until it ends.
func aloneInNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	before, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		unix.Close(before)
		runtime.UnlockOSThread()
		t.Skipf("an ordinary user cannot be in a network namespace alone: %v", err)
	}
	t.Cleanup(func() {
		defer unix.Close(before)
		if err := unix.Setns(before, unix.CLONE_NEWNET); err != nil {
			t.Errorf("back into the network: %v", err) // the thread ends with this goroutine
			return
		}
		runtime.UnlockOSThread()
	})
}

// Answers that make no sense are passed over.
func FuzzHeldBy(f *testing.F) {
	one := make([]byte, unixDiagHead+4+36)
	binary.NativeEndian.PutUint16(one[unixDiagHead:], 40)
	binary.NativeEndian.PutUint16(one[unixDiagHead+2:], unixDiagMeminfo)
	f.Add(byte(unix.AF_UNIX), one)
	f.Add(byte(unix.AF_INET), one[:20])
	f.Add(byte(unix.AF_UNIX), []byte{})
	f.Fuzz(func(t *testing.T, family byte, message []byte) {
		if n := heldBy(family, message); n < 0 {
			t.Errorf("%d bytes", n)
		}
	})
}
