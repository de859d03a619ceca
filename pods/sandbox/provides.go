package sandbox

import (
	"fmt"
	"os"
	"path/filepath"

	"podgate/pods/preset"
)

// toolDirs are the folders of the host whose programs every pod finds. Those
// that only the server's own PATH knows are of no use to a pod.
var toolDirs = []string{"/usr/local/bin", "/usr/bin", "/bin", goDir}

// goDir is where Go's own packages put its programs. No PATH has it by itself.
const goDir = "/usr/local/go/bin"

// Provides implements pods.Runtime: pods use what is installed on this machine.
func (r *Runtime) Provides(needs preset.Needs) error {
	if needs.Tool == "" || hasTool(needs.Tool) {
		return nil
	}
	return fmt.Errorf("%s is not installed on this server; the person who runs it has to %s", needs.Tool, needs.Get)
}

func hasTool(name string) bool {
	for _, dir := range toolDirs {
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}
