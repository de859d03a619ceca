package ui_test

import "net/url"

// podRows are the rows of what is below a pod. They come first, while everybody still
// has their role.
var podRows = []row{
	{"GET /pod/:name/terminal", to("/pod/blog/terminal"), teamPage(shown), false, ""},
	{"GET /pod/:name/terminal/socket", to("/pod/blog/terminal/socket"), [6]string{"401", absent, denied, "426", "426", absent}, false, ""},
	{"GET /pod/:name/settings", to("/pod/blog/settings"), teamPage(shown), false, ""},
	{"POST /pod/:name/env", to("/pod/blog/env", "name", "1"), ofMakers("422"), false, ""},
	{"POST /pod/:name/network", to("/pod/blog/network", "mode", "odd"), [6]string{signIn, absent, denied, denied, "422", absent}, false, ""},
	{"GET /pod/:name/audit", to("/pod/blog/audit"), teamPage(shown), false, ""},
	{"GET /pod/:name/jobs", to("/pod/blog/jobs"), teamPage(shown), false, ""},
	{"POST /pod/:name/jobs", to("/pod/blog/jobs"), ofMakers("409"), false, ""}, // no command
	{"GET /pod/:name/job", to("/pod/blog/job?id=none"), teamPage("404"), false, ""},
	{"POST /pod/:name/job/stop", to("/pod/blog/job/stop", "id", "none"), ofMakers("404"), false, ""},
	{"GET /pod/:name/files", to("/pod/blog/files"), teamPage(shown), false, ""},
	{"GET /pod/:name/files/view", to("/pod/blog/files/view?path=index.html"), teamPage(shown), false, ""},
	{"GET /pod/:name/files/raw", to("/pod/blog/files/raw?path=index.html"), teamPage("415"), false, ""},
	{"GET /pod/:name/files/download", to("/pod/blog/files/download?path=index.html"), teamPage(shown), false, ""},
	{"GET /pod/:name/files/edit", to("/pod/blog/files/edit?path=index.html"), ofMakers(shown), false, ""},
	{"POST /pod/:name/files/edit", toFile("edit", "version", "absent", false), ofMakers(done), false, ""},
	{"POST /pod/:name/files/new", toFile("new", "", "", false), ofMakers(done), false, ""},
	{"POST /pod/:name/files/upload", to("/pod/blog/files/upload"), ofMakers("400"), false, ""},
	{"GET /pod/:name/files/move", to("/pod/blog/files/move?path=index.html"), ofMakers(shown), false, ""},
	{"POST /pod/:name/files/move", toFile("move", "to", "moved-by-", true), ofMakers(done), false, ""},
	{"GET /pod/:name/files/delete", to("/pod/blog/files/delete?path=index.html"), ofMakers(shown), false, ""},
	{"POST /pod/:name/files/delete", toFile("delete", "", "", true), ofMakers(done), false, ""},
}

// toFile leads to something about a file of whoever tries; its form's values end in
// their role. It is there before, unless it is to be made.
func toFile(below, field, value string, there bool) func(*world, string) (string, url.Values) {
	return func(w *world, role string) (string, url.Values) {
		name := below + "-of-" + role
		if there {
			w.write(name, "by "+role)
		}
		path, form := "/pod/blog/files/"+below, url.Values{field: {value}}
		if below == "new" {
			form.Set("name", name)
		} else {
			path += "?path=" + name
		}
		if field == "to" {
			form.Set("to", value+role)
		}
		return path, form
	}
}
