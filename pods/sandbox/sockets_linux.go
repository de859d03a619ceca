//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// This file counts the buffers of a pod's sockets where no cgroup does, and those of its
// netlink sockets everywhere, as no cgroup counts these. They are memory that no process
// has. A socket of NETLINK_SOCK_DIAG tells about all sockets
// of the network namespace that it was made in, so stage 1 makes one in the pod's
// and hands it over. No process of the pod can make such a socket (package seccomp).

const (
	sockDiagByFamily = 20 // the one request (linux/sock_diag.h)
	diagReply        = 64 << 10
	diagPatience     = 200 * time.Millisecond

	unixDiagRqlen, unixDiagMeminfo = 4, 5 // attributes (linux/unix_diag.h)
	inetDiagSkmeminfo              = 7    // (linux/inet_diag.h)
	netlinkDiagMeminfo             = 0    // (linux/netlink_diag.h)
	unixDiagHead, inetDiagHead     = 16, 72
	netlinkDiagHead                = 28
	netlinkShowMeminfo             = 1   // NDIAG_SHOW_MEMINFO
	allNetlink                     = 255 // protocols: NDIAG_PROTO_ALL
	listening                      = 10  // a state, in which the length is of another queue
	allStates                      = ^uint32(0)
)

// sendDiag hands a new socket over that tells about the sockets of this network
// namespace.
func sendDiag(to *os.File) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil // the kernel has no such thing: the sockets go uncounted
	}
	defer unix.Close(fd)
	return unix.Sendmsg(int(to.Fd()), []byte{0}, unix.UnixRights(fd), nil, 0)
}

// socketMeter counts what the sockets of a pod hold. nil counts nothing.
type socketMeter struct {
	mu sync.Mutex
	fd int // -1 once closed
}

// receiveDiag takes what stage 1 has sent; nil when it had nothing.
func receiveDiag(from *os.File) *socketMeter {
	if from == nil {
		return nil
	}
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), make([]byte, 1), oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil
	}
	fd, err := oneRight(oob[:n])
	if err != nil {
		return nil
	}
	patience := unix.NsecToTimeval(int64(diagPatience))
	if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience) != nil {
		unix.Close(fd)
		return nil
	}
	return &socketMeter{fd: fd}
}

func (m *socketMeter) close() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd >= 0 {
		unix.Close(m.fd)
	}
	m.fd = -1
}

// counted are the families whose sockets pods can fill, apart from netlink.
var counted = []byte{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6}

// used is what waits in all the pod's sockets of these families, in bytes. An error says
// that it may be more.
func (m *socketMeter) used(families ...byte) (sum int64, err error) {
	err = m.ask(allStates, families, func(family byte, message []byte) { sum += heldBy(family, message) })
	return sum, err
}

// tells is nil when used can say something of all these families. It asks for sockets that
// listen: for all of them, the kernel walks through its whole table of connections, which
// takes milliseconds and is the same for all pods.
func (m *socketMeter) tells(families ...byte) error {
	return m.ask(1<<listening, families, func(byte, []byte) {})
}

// ask has the kernel tell of the pod's sockets of these families that are in one of the
// states, which are bits.
func (m *socketMeter) ask(states uint32, families []byte, each func(family byte, message []byte)) (err error) {
	if m == nil {
		return errors.New("this kernel does not tell about sockets")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd < 0 {
		return nil
	}
	for _, family := range families {
		for _, protocol := range diagProtocols(family) {
			err = errors.Join(err, m.dump(diagRequest(family, protocol, states), func(message []byte) { each(family, message) }))
		}
	}
	return err
}

func diagProtocols(family byte) []byte {
	switch family {
	case unix.AF_UNIX:
		return []byte{0}
	case unix.AF_NETLINK:
		return []byte{allNetlink}
	}
	return []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP}
}

// diagRequest asks for all sockets of a family and protocol that are in one of the states,
// with their memory. Those of netlink have none.
func diagRequest(family, protocol byte, states uint32) []byte {
	const head, unixBody, inetBody, netlinkBody = unix.NLMSG_HDRLEN, 24, 56, 20
	body := inetBody
	switch family {
	case unix.AF_UNIX:
		body = unixBody
	case unix.AF_NETLINK:
		body = netlinkBody
	}
	b := make([]byte, head+body)
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], uint32(len(b)))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b[head], b[head+1] = family, protocol
	if family == unix.AF_NETLINK {
		ne.PutUint32(b[head+8:], netlinkShowMeminfo)
		return b
	}
	ne.PutUint32(b[head+4:], states)
	if family == unix.AF_UNIX {
		ne.PutUint32(b[head+12:], 1<<unixDiagRqlen|1<<unixDiagMeminfo) // UDIAG_SHOW_…
	} else {
		b[head+2] = 1 << (inetDiagSkmeminfo - 1)
	}
	return b
}

// dump sends a request and hands the body of each answer over.
func (m *socketMeter) dump(request []byte, each func(message []byte)) error {
	if err := unix.Sendto(m.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, diagReply)
	for {
		n, _, err := unix.Recvfrom(m.fd, buf, 0)
		if err != nil {
			return fmt.Errorf("sockets of a pod: %w", err)
		}
		for rest := buf[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.NLMSG_HDRLEN || size > len(rest) {
				break
			}
			switch kind := binary.NativeEndian.Uint16(rest[4:]); kind {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return errors.New("sockets of a pod: the kernel does not tell about all families")
			case sockDiagByFamily:
				each(rest[unix.NLMSG_HDRLEN:size])
			}
			rest = rest[min(len(rest), (size+3)&^3):]
		}
	}
}

// heldBy is what one socket holds, in bytes: what it has received and what it has
// sent that waits elsewhere. What a closed sender has left is counted by its length.
func heldBy(family byte, message []byte) (sum int64) {
	head, memory := inetDiagHead, uint16(inetDiagSkmeminfo)
	switch family {
	case unix.AF_UNIX:
		head, memory = unixDiagHead, unixDiagMeminfo
	case unix.AF_NETLINK:
		head, memory = netlinkDiagHead, netlinkDiagMeminfo
	}
	ne := binary.NativeEndian
	for rest := message[min(head, len(message)):]; len(rest) >= 4; {
		size, kind := int(ne.Uint16(rest)), ne.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			break
		}
		value := rest[4:size]
		switch {
		case kind == memory && len(value) >= 24: // SK_MEMINFO_…
			sum += int64(ne.Uint32(value)) + int64(max(ne.Uint32(value[8:]), ne.Uint32(value[20:]))) + int64(ne.Uint32(value[16:]))
		case family == unix.AF_UNIX && kind == unixDiagRqlen && len(value) >= 4 && message[2] != listening:
			sum += int64(ne.Uint32(value))
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return sum
}
