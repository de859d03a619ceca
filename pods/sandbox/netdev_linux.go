//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"podgate/pods/egress"
	"podgate/pods/egress/netstack"
)

// This file makes a pod's network device in stage 1, and hands its other end
// over: a TUN where its device can be opened, and otherwise a pair of veth with
// a packet socket on the far one, which every kernel with network namespaces
// gives to whoever owns the namespace.

const (
	deviceName = "eth0"
	farName    = "gate0" // the other end of a veth
)

// device is what stage 1 says of the network that it has made. The descriptor
// goes with it.
type device struct {
	Kind netstack.LinkKind `json:"kind,omitempty"`
	MAC  []byte            `json:"mac,omitempty"` // of the pod's end, where frames have one
	// Fault says why there is none.
	Fault string `json:"fault,omitempty"`
}

// network makes the device and sends it to the server. A kernel that gives none
// costs pods the network and nothing else.
func network(to *os.File) error {
	fd, d, err := makeDevice()
	if err != nil {
		d = device{Fault: err.Error()}
	}
	message, err := json.Marshal(d)
	if err != nil {
		return err
	}
	var rights []byte
	if d.Fault == "" {
		rights = unix.UnixRights(fd)
		defer unix.Close(fd)
	}
	return unix.Sendmsg(int(to.Fd()), message, rights, nil, 0)
}

func makeDevice() (fd int, d device, err error) {
	fd, d, err = makeTUN()
	if err != nil {
		noTUN := err
		if fd, d, err = makeVeth(); err != nil {
			return -1, d, fmt.Errorf("neither /dev/net/tun can be used (%w) nor a veth made: %w", noTUN, err)
		}
	}
	if err := configure(); err != nil {
		unix.Close(fd)
		return -1, d, err
	}
	return fd, d, nil
}

func makeTUN() (int, device, error) {
	fd, err := openTUN()
	return fd, device{Kind: netstack.LinkTUN}, err
}

func makeVeth() (fd int, d device, err error) {
	if err := addVeth(); err != nil {
		return -1, d, err
	}
	fd, mac, err := openFarEnd()
	return fd, device{Kind: netstack.LinkPacket, MAC: mac}, err
}

func openTUN() (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	request, err := unix.NewIfreq(deviceName)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// configure gives the pod's end its address and the way to everything.
func configure() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	mask := net.CIDRMask(egress.PodAddr.Bits(), 32)
	withoutIPv6()
	return errors.Join(
		setInet4(fd, unix.SIOCSIFADDR, egress.PodAddr.Addr()),
		setInet4(fd, unix.SIOCSIFNETMASK, netip.AddrFrom4([4]byte(mask))),
		setMTU(fd, deviceName),
		setFlags(fd, deviceName),
		defaultRoute(fd),
	)
}

// withoutIPv6 keeps the kernel from looking for routers on the device: there
// are none, and its questions would wake the process at the other end. Where
// /proc cannot be written, they do.
func withoutIPv6() {
	for _, name := range []string{deviceName, farName} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	}
}

func setInet4(fd int, request uint, a netip.Addr) error {
	r, err := unix.NewIfreq(deviceName)
	if err != nil {
		return err
	}
	four := a.As4()
	if err := r.SetInet4Addr(four[:]); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, request, r)
}

func setMTU(fd int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint32(netstack.MTU)
	return unix.IoctlIfreq(fd, unix.SIOCSIFMTU, r)
}

func setFlags(fd int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// rtentry is struct rtentry of the kernel's linux/route.h on 64-bit machines.
type rtentry struct {
	_       uint64
	dst     unix.RawSockaddrInet4
	gateway unix.RawSockaddrInet4
	genmask unix.RawSockaddrInet4
	flags   uint16
	_       [14]byte
	_       uint64
	metric  int16
	_       [6]byte
	dev     uintptr
	_       [3]uint64
}

const (
	rtfUp      = 1
	rtfGateway = 2
)

func defaultRoute(fd int) error {
	any4 := unix.RawSockaddrInet4{Family: unix.AF_INET}
	route := rtentry{dst: any4, genmask: any4, gateway: any4, flags: rtfUp | rtfGateway}
	route.gateway.Addr = egress.ResolverAddr.As4()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&route))); errno != 0 {
		return fmt.Errorf("default route: %w", errno)
	}
	return nil
}

// openFarEnd returns a packet socket on the far end, and the address of the
// near one, to which frames must be sent. Both ends lie in the pod's network:
// what runs there has no right to either.
func openFarEnd() (fd int, mac []byte, err error) {
	near, err := net.InterfaceByName(deviceName)
	if err != nil {
		return -1, nil, err
	}
	far, err := net.InterfaceByName(farName)
	if err != nil {
		return -1, nil, err
	}
	ctl, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, err
	}
	defer unix.Close(ctl)
	if err := errors.Join(setMTU(ctl, farName), setFlags(ctl, farName)); err != nil {
		return -1, nil, err
	}
	ip := binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff}) // in network order
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: far.Index}); err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, near.HardwareAddr, nil
}

// addVeth asks the kernel over rtnetlink (rtnetlink(7), veth(4)) for a pair.
func addVeth() error {
	const vethInfoPeer = 1
	peer := append(make([]byte, unix.SizeofIfInfomsg), attribute(unix.IFLA_IFNAME, append([]byte(farName), 0))...)
	data := attribute(unix.IFLA_INFO_DATA|unix.NLA_F_NESTED, attribute(vethInfoPeer|unix.NLA_F_NESTED, peer))
	info := attribute(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, append(attribute(unix.IFLA_INFO_KIND, []byte("veth")), data...))
	body := append(make([]byte, unix.SizeofIfInfomsg), attribute(unix.IFLA_IFNAME, append([]byte(deviceName), 0))...)
	body = append(body, info...)
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	h := (*unix.NlMsghdr)(unsafe.Pointer(&message[0]))
	*h = unix.NlMsghdr{Len: uint32(unix.SizeofNlMsghdr + len(body)), Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL, Seq: 1}
	return rtnetlink(append(message, body...))
}

// attribute is one netlink attribute with its padding.
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// rtnetlink sends one message and reads its acknowledgement.
func rtnetlink(message []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b := make([]byte, 8<<10)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return errors.New("an answer that is none")
	}
	if code := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
