package podpages

import "strings"

// pageWords are the words of the pods service that speak of tools, and what they are
// on pages. The longer ones come first.
var pageWords = strings.NewReplacer(
	"use manage_pod with action stop, then start", "press Stop, then Start",
	"use manage_pod with action start to try again now", "press Start to try again now",
	"use manage_pod with action start to try again, or delete", "press Start to try again, or delete the pod",
	"use manage_pod with action start to try again", "press Start to try again",
	"use manage_pod with action start first", "press Start first",
	"look at get_pod, then use manage_pod with action start", "look at the pod, then press Start",
	"then use manage_pod with action start", "then press Start",
	"wait a little, look with get_pod, then try again", "wait a little, then try again",
	"podgate goes on trying, look again with get_pod", "podgate goes on trying",
	"look with get_pod", "look at the pod",
	"look at get_logs", "look at its logs",
	"this team has no pod of that name; list_pods shows those it has", "the team has no pod of that name",
	"the pod has no such job; list_jobs shows those it has", "the pod has no such job",
	"list_deploys shows those that were kept", "those that were kept have a button",
	"the pod has none with that id; list_snapshots shows those it has", "the pod has no such snapshot; it may have made room for a newer one",
	"delete one with delete_snapshot", "delete one",
	"delete some with delete_snapshot", "delete some",
	"send an archive with create_upload", "send them as one archive",
	"write it to a file with write_file and run that", "write it to a file and run that",
	"write it to a file with write_file", "write it to a file",
	"send the file to the url of create_upload first, or make a new one", "send it again",
	"the upload is no id that create_upload answered with", "there is no such upload",
)

// inPages is a sentence of the pods service for somebody at a page: it names buttons
// where the service names tools.
func inPages(words string) string { return pageWords.Replace(words) }
