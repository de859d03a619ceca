//go:build linux && (amd64 || arm64)

package sandbox

import (
	"os"
	"slices"
	"testing"
)

func TestDonation(t *testing.T) {
	t.Parallel()
	var d donation
	d.add(donatedStatus, os.Stdout)
	d.add("/home/pod", os.Stderr)
	all := d.with(donatedSelf, os.Stdin)
	if !slices.Equal(d.files, []*os.File{os.Stdout, os.Stderr}) || !slices.Equal(all.files, []*os.File{os.Stdout, os.Stderr, os.Stdin}) {
		t.Errorf("files %v, and with one more %v", d.files, all.files)
	}
	got, err := readDonated([]string{stage1Name, all.argument()})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{donatedStatus: 3, "/home/pod": 4, donatedSelf: 5, "never": -1} {
		if n := got.number(name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
	for _, args := range [][]string{{stage1Name}, {stage1Name, "3"}, {stage1Name, "{}", "{}"}} {
		if _, err := readDonated(args); err == nil {
			t.Errorf("read %q", args)
		}
	}
}
