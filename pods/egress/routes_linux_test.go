package egress

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A network of its own, with routes such as machines have them: what is one hop away
// counts as this machine's own also where no address shows it, and what is behind a
// gateway does not.
func TestOwnRoutes(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root makes a network without a user namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("without ip(8) there is nobody to make routes")
	}
	var own []netip.Prefix
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		done <- func() error {
			if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
				return err
			}
			cmd := exec.Command("sh", "-ec", layout)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			var err error
			own, err = ownPrefixes()
			return err
		}()
	}()
	if err := <-done; err != nil {
		if strings.Contains(err.Error(), "not supported") || strings.Contains(err.Error(), "Operation not permitted") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	p := Policy{Layers: []Layer{{Who: WhoRegion, Mode: ModeInternet}}}
	for a, refused := range map[string]bool{
		"93.184.216.1":  true,  // an address of the machine
		"93.184.216.77": true,  // its network
		"9.9.9.9":       true,  // behind the bridge, without an address there
		"9.9.8.1":       false, // beside it
		"5.5.5.5":       true,  // a neighbour by a route of its own
		"6.6.6.6":       true,  // in another table
		"7.7.7.7":       true,  // the peer of a line
		"8.8.4.4":       false, // behind a gateway
		"8.8.8.8":       false, // by the default route
		"64.1.1.1":      false, // by half of a default route, to a device
		"4.4.4.4":       true,  // taken for its own, without an address
		"11.1.1.1":      true,  // by two ways, of which one is direct
		"12.1.1.1":      false, // by two gateways
		"2a00:1::9":     true,  // on link by the router's word, and the address has 128 bits
		"2a00:2::9":     false,
		"2a00:3::9":     true, // all of a network taken for its own
	} {
		addr := netip.MustParseAddr(a)
		if err := p.reaches(target{port: 443}, addr, own); (err != nil) != refused {
			t.Errorf("%s: %v, want refused %v; own are %v", a, err, refused, own)
		}
	}
	if !slices.IsSortedFunc(own, netip.Prefix.Compare) || len(slices.Compact(slices.Clone(own))) != len(own) {
		t.Errorf("%v", own)
	}
}

// layout makes the devices and routes.
const layout = `
ip link set lo up
ip link add br0 type veth peer name br1
ip link set br0 up
ip link set br1 up
ip addr add 93.184.216.1/24 dev br0
ip route add 9.9.9.0/24 dev br0
ip route add 5.5.5.5 dev br0
ip route add 6.6.6.0/24 dev br0 table 77
ip addr add 93.184.216.2 peer 7.7.7.7 dev br0
ip route add 8.8.4.0/24 via 93.184.216.9
ip route add default via 93.184.216.9
ip route add 64.0.0.0/2 dev br0
ip route add local 4.4.4.0/24 dev lo
ip route add 11.0.0.0/8 nexthop via 93.184.216.9 nexthop dev br0
ip route add 12.0.0.0/8 nexthop via 93.184.216.9 nexthop via 93.184.216.10
ip -6 addr add 2a00:1::5/128 dev br0 nodad
ip -6 route add 2a00:1::/64 dev br0
ip -6 route add 2a00:2::/64 via 2a00:1::1
ip -6 route add 2000::/3 dev br0
ip -6 route add local 2a00:3::/64 dev lo
`
