package packagetest

import (
	"bytes"
	"testing"
)

// What is made twice is the same, so that its sum is.
func TestArchivesAreTheSame(t *testing.T) {
	t.Parallel()
	p := Package{Name: "greeter", Version: "1.0.0", Files: map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}, Scripts: map[string]string{"x": "a:b", "y": "c:d"}}
	for name, make := range map[string]func(Package) []byte{"npm": npmTarball, "wheel": pythonWheel} {
		first := make(p)
		for range 50 {
			if !bytes.Equal(make(p), first) {
				t.Fatalf("%s: two archives differ", name)
			}
		}
	}
}
