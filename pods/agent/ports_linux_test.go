package agent

import (
	"net"
	"slices"
	"testing"
)

func TestParseListening(t *testing.T) {
	t.Parallel()
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0 0
   3: 0100007F 00000000:0000 0A
   4: 0100007F:XY 00000000:0000 0A
`
	if got := parseListening([]byte(table)); !slices.Equal(got, []int{3000, 80}) {
		t.Errorf("%v", got)
	}
}

func TestListeningPorts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if port := l.Addr().(*net.TCPAddr).Port; !slices.Contains(listeningPorts(), port) {
		t.Errorf("%d is not among %v", port, listeningPorts())
	}
}

func FuzzParseListening(f *testing.F) {
	f.Add([]byte("   0: 0100007F:0BB8 00000000:0000 0A\n"))
	f.Fuzz(func(t *testing.T, table []byte) {
		for _, p := range parseListening(table) {
			if p < 0 || p > 65535 {
				t.Errorf("%q has the port %d", table, p)
			}
		}
	})
}
