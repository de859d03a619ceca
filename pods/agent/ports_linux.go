package agent

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"strconv"
)

// listeningPorts are the TCP ports that something listens on in this network,
// in order.
func listeningPorts() []int {
	var ports []int
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(path)
		if err == nil { // without IPv6 there is one of them
			ports = append(ports, parseListening(b)...)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// parseListening reads the ports of sockets in state LISTEN from a table of
// proc(5), /proc/net/tcp.
func parseListening(table []byte) (ports []int) {
	const listen = "0A"
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line)
		if len(f) < 4 || string(f[3]) != listen {
			continue
		}
		_, port, ok := bytes.Cut(f[1], []byte(":"))
		if b, err := hex.DecodeString(string(port)); ok && err == nil && len(b) == 2 {
			n, _ := strconv.ParseUint(string(port), 16, 16) // it is one
			ports = append(ports, int(n))
		}
	}
	return ports
}
