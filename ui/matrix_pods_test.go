package ui_test

// makersPage is teamPage of what changes something.
func makersPage(answer string) [6]string {
	return [6]string{signIn, absent, denied, answer, answer, absent}
}

// podRows are the rows of what is below a pod. They come first, while everybody still
// has their role. The pod of this test has an agent without files and jobs, so what is
// let through to it is answered 409.
var podRows = []row{
	{"GET /pod/:name/files", to("/pod/blog/files"), teamPage("409"), false, ""},
	{"GET /pod/:name/files/view", to("/pod/blog/files/view?path=x"), teamPage("409"), false, ""},
	{"GET /pod/:name/files/raw", to("/pod/blog/files/raw?path=x"), teamPage("409"), false, ""},
	{"GET /pod/:name/files/download", to("/pod/blog/files/download?path=x"), teamPage("409"), false, ""},
	{"GET /pod/:name/files/edit", to("/pod/blog/files/edit?path=x"), makersPage("409"), false, ""},
	{"POST /pod/:name/files/edit", to("/pod/blog/files/edit?path=x", "version", "absent"), makersPage("409"), false, ""},
	{"POST /pod/:name/files/new", to("/pod/blog/files/new", "name", "x"), makersPage("409"), false, ""},
	{"POST /pod/:name/files/upload", to("/pod/blog/files/upload"), makersPage("400"), false, ""},
	{"GET /pod/:name/files/move", to("/pod/blog/files/move?path=x"), makersPage(shown), false, ""},
	{"POST /pod/:name/files/move", to("/pod/blog/files/move?path=x", "to", "y"), makersPage("409"), false, ""},
	{"GET /pod/:name/files/delete", to("/pod/blog/files/delete?path=x"), makersPage(shown), false, ""},
	{"POST /pod/:name/files/delete", to("/pod/blog/files/delete?path=x"), makersPage("409"), false, ""},
}
