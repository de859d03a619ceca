package preset

var command = Preset{
	Name:        "command",
	Description: "Any program: the web line of a Procfile; its release line runs at reload, all other lines beside it as workers, cron lines at their times",
	Port:        8080,
	Steps: []Step{
		{"Put your program into the app folder", "app/"},
		{"Say how it starts; it must listen on $PORT", "app/Procfile — web: ./server --port $PORT"},
		{"Reload the pod, and it answers here", "reload"},
	},
}
