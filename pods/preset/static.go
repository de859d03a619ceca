package preset

var static = Preset{
	Name:        "static",
	Description: "Files from the app folder (or its public or dist folder) over HTTP: sites without a server program",
	Port:        8080,
	Steps: []Step{
		{"Replace this page with your own", "app/index.html"},
		{"Add styles, scripts and pictures beside it", "app/style.css"},
		{"Say it kindly when a page is missing", "app/404.html"},
	},
	filesOnly: true,
}
