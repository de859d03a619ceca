package podpages

import (
	"strings"

	"podgate/internal/text"
	"podgate/pods"
)

// podHead is what stands at the top of each page of a pod; see part_podhead.html.
type podHead struct {
	Name, Team string
	Status     string // a word of package pods, which is also a class of the stylesheet
	Word       string // for it, for people
	Reason     string
	URL        string // empty unless http or https
	Tabs       []tab
}

// tab is one of the pages of a pod.
type tab struct {
	Name, Path string
	Here       bool
}

// podTabs are the pages of a pod in their order. One is listed once it is there.
var podTabs = []tab{
	{Name: "Overview"},
	{Name: "Logs", Path: "/logs"},
	{Name: "Files", Path: "/files"},
	{Name: "Terminal", Path: "/terminal"},
	{Name: "Deploys", Path: "/deploys"},
	{Name: "Snapshots", Path: "/snapshots"},
	{Name: "Jobs", Path: "/jobs"},
	{Name: "Settings", Path: "/settings"},
}

// head makes the head of the page that the tab of that name leads to.
func (s *Pages) head(o opened, pod pods.Pod, here string) podHead {
	h := podHead{
		Name: o.Name, Team: text.Line(o.Actor.Team.Name, 60), Status: text.Line(pod.Status, 20), Word: statusWord(text.Line(pod.Status, 20)), Reason: text.Line(inPages(pod.Reason), 600), URL: webAddress(pod.URL),
	}
	for _, t := range podTabs {
		h.Tabs = append(h.Tabs, tab{Name: t.Name, Path: "/pod/" + o.Name + t.Path, Here: t.Name == here})
	}
	return h
}

// webAddress is an address that may stand in a link, or empty.
func webAddress(address string) string {
	if strings.HasPrefix(address, "https://") || strings.HasPrefix(address, "http://") {
		return address
	}
	return ""
}
