package agent

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io/fs"

	"podgate/pods/wire"
)

//go:embed welcome/index.html
var welcomeSource string

// welcomePage is what the first page says.
type welcomePage struct {
	Name, URL, Preset string
	Next              []welcomeStep
}

type welcomeStep struct{ Do, Example string }

var welcomeSteps = map[string][]welcomeStep{
	presetStatic: {
		{"Replace this page with your own", "app/index.html"},
		{"Add styles, scripts and pictures beside it", "app/style.css"},
		{"Say it kindly when a page is missing", "app/404.html"},
	},
	presetNode: {
		{"Write a server that listens on process.env.PORT", "app/server.js"},
		{"Name what it needs and how it starts", "app/package.json"},
		{"Reload the pod: it installs, starts and answers here", "reload"},
	},
	presetPython: {
		{"Write an app that listens on the port in $PORT", "app/app.py"},
		{"List what it needs", "app/requirements.txt"},
		{"Reload the pod: it installs, starts and answers here", "reload"},
	},
	presetPHP: {
		{"Write your first page", "app/index.php"},
		{"Or keep what visitors may see apart", "app/public/index.php"},
		{"Reload the pod, and it answers here", "reload"},
	},
	presetCommand: {
		{"Put your program into the app folder", "app/"},
		{"Say how it starts; it must listen on $PORT", "app/Procfile — web: ./server --port $PORT"},
		{"Reload the pod, and it answers here", "reload"},
	},
}

func renderWelcome(spec wire.AppSpec) ([]byte, error) {
	t, err := template.New("welcome").Parse(welcomeSource)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	page := welcomePage{Name: spec.Name, URL: spec.URL, Preset: spec.Preset, Next: welcomeSteps[spec.Preset]}
	if err := t.Execute(&b, page); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// writeWelcome puts the first page into an app folder that is empty or absent.
func (a *agent) writeWelcome(spec wire.AppSpec) error {
	root := a.folders.home.root
	entries, err := fs.ReadDir(root.FS(), "app")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileFault(podApp, err)
	}
	if len(entries) > 0 {
		return nil
	}
	page, err := renderWelcome(spec)
	if err != nil {
		return err
	}
	at, err := a.folders.resolve(podApp + "/index.html")
	if err != nil {
		return err
	}
	_, err = writeFile(at, writeQuery{}, bytes.NewReader(page))
	return fileFault(at.virtual, err)
}
