package preset

var php = Preset{
	Name:        "php",
	Description: "PHP: composer install at reload, then Procfile or PHP's own server on the public or app folder",
	Port:        8080,
	Needs:       Needs{Tool: "php", Get: "install PHP's command line (on Debian and Ubuntu: apt install php-cli composer)"},
	Bin:         "vendor/bin",
	Wanted:      "or index.php or public/index.php",
	Steps: []Step{
		{"Write your first page", "app/index.php"},
		{"Or keep what visitors may see apart", "app/public/index.php"},
		{"Reload the pod, and it answers here", "reload"},
	},
	install: func(app App) (string, error) {
		if app.has("composer.json") {
			return "composer install --no-interaction", nil
		}
		return "", nil
	},
	start: func(app App) (Start, error) {
		switch {
		case app.first("public/index.php", "public/index.html") != "":
			return app.run("php", `-S "127.0.0.1:$PORT" -t public`)
		case app.has("index.php"):
			return app.run("php", `-S "127.0.0.1:$PORT"`)
		}
		return Start{}, nil
	},
}
