package netstack

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// LinkKind is what a descriptor of packets is.
type LinkKind string

// The kinds there are. Both read and write IP packets.
const (
	LinkTUN    LinkKind = "tun"
	LinkPacket LinkKind = "packet" // a packet socket (packet(7)) of SOCK_DGRAM
)

// MTU is how much one packet holds, in bytes. No wire limits it, and most of
// the cost of a byte is that of its packet.
const MTU = 65520

// link is the end of a pod's network that a descriptor leads to. It waits where
// Go's runtime waits for everything else, so that a packet needs no change of
// threads, which costs more than all that is done with it.
type link struct {
	file *os.File
	raw  syscall.RawConn
	to   *unix.RawSockaddrLinklayer // of a packet socket: the pod

	read sync.WaitGroup
}

// Link is the end of a pod's network that a descriptor leads to. mac is the
// pod's address on it, for LinkPacket. The descriptor stays the caller's.
func Link(kind LinkKind, fd int, mac []byte) (stack.LinkEndpoint, error) {
	l := &link{}
	switch kind {
	case LinkTUN:
	case LinkPacket:
		bound, err := unix.Getsockname(fd)
		at, ok := bound.(*unix.SockaddrLinklayer)
		if err != nil || !ok || len(mac) != 6 {
			return nil, fmt.Errorf("a packet socket needs its device and the pod's address: %w", err)
		}
		l.to = &unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Protocol: at.Protocol, Ifindex: int32(at.Ifindex), Halen: 6, Addr: [8]uint8(append(mac[:6:6], 0, 0))}
	default:
		return nil, fmt.Errorf("%q is no kind of link", kind)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(own, true); err != nil { // what the runtime waits for
		unix.Close(own)
		return nil, err
	}
	l.file = os.NewFile(uintptr(own), "packets")
	l.raw, err = l.file.SyscallConn()
	return l, err
}

// Attach implements stack.LinkEndpoint. The stack calls it with nil at the end.
func (l *link) Attach(to stack.NetworkDispatcher) {
	if to == nil {
		l.file.Close()
		return
	}
	l.read.Go(func() { l.deliver(to) })
}

func (l *link) deliver(to stack.NetworkDispatcher) {
	b := make([]byte, 64<<10)
	for {
		n, err := l.next(b)
		if err != nil {
			return
		}
		if n == 0 || header.IPVersion(b[:n]) != header.IPv4Version {
			continue
		}
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b[:n])})
		to.DeliverNetworkPacket(header.IPv4ProtocolNumber, packet)
		packet.DecRef()
	}
}

// next reads one packet.
func (l *link) next(b []byte) (n int, err error) {
	closed := l.raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), b)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return n, errors.Join(err, closed)
}

// WritePackets implements stack.LinkEndpoint. What does not fit is lost, as on
// any network.
func (l *link) WritePackets(all stack.PacketBufferList) (int, tcpip.Error) {
	written := 0
	for _, p := range all.AsSlice() {
		var err error
		closed := l.raw.Write(func(fd uintptr) bool {
			err = l.write(int(fd), p.AsSlices())
			return true
		})
		if closed != nil {
			return written, &tcpip.ErrClosedForSend{}
		}
		if err != nil {
			return written, &tcpip.ErrNoBufferSpace{}
		}
		written++
	}
	return written, nil
}

// write never waits, so it does not tell Go's runtime that it might. Were another
// goroutine run meanwhile, on the one processor that there is, it could be the one that
// takes the pod's answer to this very packet; that turns in circles until it has the
// lock that the writer holds, which then cannot go on for as long as the runtime lets
// one goroutine run, 10 ms.
func (l *link) write(fd int, parts [][]byte) error {
	pieces := make([]unix.Iovec, 0, 8)
	for _, p := range parts {
		if len(p) > 0 {
			pieces = append(pieces, unix.Iovec{Base: &p[0]})
			pieces[len(pieces)-1].SetLen(len(p))
		}
	}
	if len(pieces) == 0 {
		return nil
	}
	var errno syscall.Errno
	if l.to == nil {
		_, _, errno = unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&pieces[0])), uintptr(len(pieces)))
	} else {
		message := unix.Msghdr{Name: (*byte)(unsafe.Pointer(l.to)), Namelen: unix.SizeofSockaddrLinklayer, Iov: &pieces[0]}
		message.SetIovlen(len(pieces))
		_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), unix.MSG_DONTWAIT)
	}
	runtime.KeepAlive(parts)
	if errno != 0 {
		return errno
	}
	return nil
}

// Wait implements stack.LinkEndpoint.
func (l *link) Wait() { l.read.Wait() }

// Capabilities implements stack.LinkEndpoint: between the pod's kernel and here
// nothing can change a packet, and that kernel leaves its checksums out.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// The rest of stack.LinkEndpoint is that of a link without addresses.

func (l *link) MTU() uint32                             { return MTU }
func (l *link) SetMTU(uint32)                           {}
func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) IsAttached() bool                        { return false }
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}
