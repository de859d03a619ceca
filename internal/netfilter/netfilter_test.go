package netfilter_test

import (
	"net/netip"
	"testing"

	"podgate/internal/netfilter"
)

// refused has both edges of every range. beside has the public addresses just
// outside, where there are any.
var (
	refused = []string{
		"0.0.0.0", "0.255.255.255",
		"10.0.0.0", "10.255.255.255",
		"100.64.0.0", "100.127.255.255",
		"127.0.0.0", "127.0.0.1", "127.255.255.255",
		"169.254.0.0", "169.254.169.254", "169.254.255.255",
		"172.16.0.0", "172.31.255.255",
		"192.0.0.0", "192.0.0.255",
		"192.0.2.0", "192.0.2.255",
		"192.31.196.0", "192.31.196.255",
		"192.52.193.0", "192.52.193.255",
		"192.88.99.0", "192.88.99.255",
		"192.168.0.0", "192.168.255.255",
		"192.175.48.0", "192.175.48.255",
		"198.18.0.0", "198.19.255.255",
		"198.51.100.0", "198.51.100.255",
		"203.0.113.0", "203.0.113.255",
		"224.0.0.0", "239.255.255.255",
		"240.0.0.0", "255.255.255.254", "255.255.255.255",

		"::", "::1", "::2", "::7f00:1", "::ffff:ffff", // IPv4-compatible
		"::ffff:0:0", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:100.64.0.1", "::ffff:255.255.255.255",
		"::ffff:0:127.0.0.1", // IPv4-translated
		"64:ff9b::", "64:ff9b::808:808", "64:ff9b::ffff:ffff",
		"64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
		"100::", "100::ffff:ffff:ffff:ffff",
		"1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"2001::", "2001::1", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", // Teredo
		"2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
		"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
		"2002::", "2002:7f00:1::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
		"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
		"4000::", "5f00::1",
		"fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"fd00:ec2::254", // a cloud metadata service
		"fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::1%eth0",
		"fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", // site-local
		"ff00::", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		"2606:4700::1111%eth0",
	}
	beside = []string{
		"1.0.0.0", "9.255.255.255", "11.0.0.0",
		"100.63.255.255", "100.128.0.0",
		"126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0",
		"172.15.255.255", "172.32.0.0",
		"191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0",
		"192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0",
		"192.88.98.255", "192.88.100.0",
		"192.167.255.255", "192.169.0.0", "192.175.47.255", "192.175.49.0",
		"198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0",
		"203.0.112.255", "203.0.114.0", "223.255.255.255", "8.8.8.8",

		"::ffff:8.8.8.8", // reaches 8.8.8.8
		"2000::", "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::",
		"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::",
		"2606:4700::1111", "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::",
		"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::",
	}
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for _, s := range refused {
		if netfilter.Public(netip.MustParseAddr(s)) == nil {
			t.Errorf("%s counts as public", s)
		}
	}
	for _, s := range beside {
		if err := netfilter.Public(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s is refused: %v", s, err)
		}
	}
	if netfilter.Public(netip.Addr{}) == nil {
		t.Error("no address at all counts as public")
	}
}

// The list agrees with what the standard library knows, whatever the address,
// and writing an IPv4 address as IPv6 changes nothing.
func FuzzPublic(f *testing.F) {
	for _, s := range append(refused, beside...) {
		a := netip.MustParseAddr(s)
		f.Add(a.AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		err := netfilter.Public(a)
		u := a.Unmap()
		if err == nil && (!u.IsGlobalUnicast() || u.IsPrivate() || u.IsLoopback()) {
			t.Errorf("%s counts as public", a)
		}
		if u.Is4() && (netfilter.Public(u) == nil) != (netfilter.Public(netip.AddrFrom16(u.As16())) == nil) {
			t.Errorf("%s and its mapped form are judged differently", u)
		}
	})
}

func TestDocumentation(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"192.0.2.1", "198.51.100.7", "203.0.113.255", "::ffff:203.0.113.1", "2001:db8::1", "3fff::1"} {
		if !netfilter.Documentation(netip.MustParseAddr(a)) || netfilter.Public(netip.MustParseAddr(a)) == nil {
			t.Errorf("%s is none", a)
		}
	}
	for _, a := range []string{"203.0.114.1", "10.0.0.1", "127.0.0.1", "8.8.8.8", "2001:db9::1", "::1", "fd00::1", "2001:db8::1%eth0"} {
		if netfilter.Documentation(netip.MustParseAddr(a)) {
			t.Errorf("%s is one", a)
		}
	}
}
