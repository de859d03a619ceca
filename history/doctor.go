package history

import "strings"

// doctorAgent is in the User-Agent of «podgate doctor», perhaps behind that of
// a client.
const doctorAgent = "podgate-doctor/"

func isDoctor(agent string) bool { return strings.Contains(agent, doctorAgent) }

// examined reports whether «podgate doctor» took the steps. Anybody can call
// himself that, so it never speaks of an attempt that came to a client or a
// person; and the steps are shown all the same.
func (c diagnosed) examined() bool {
	if c.Client != "" || c.User != "" || c.Grant != "" {
		return false
	}
	for _, s := range c.Steps {
		if !isDoctor(s.Agent) {
			return false
		}
	}
	return true
}
