package podpages

// For tests from outside.
var (
	Guides  = guides
	InPages = inPages
)

// PageNames are the templates, so that no page goes without a test.
func (s *Pages) PageNames() []string { return s.area.Names() }
