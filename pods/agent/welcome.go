package agent

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io/fs"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

//go:embed welcome/index.html
var welcomeSource string

// welcomePage is what the first page says.
type welcomePage struct {
	Name, URL, Preset string
	Next              []preset.Step
}

func renderWelcome(spec wire.AppSpec) ([]byte, error) {
	t, err := template.New("welcome").Parse(welcomeSource)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	p := presetOf(spec)
	page := welcomePage{Name: spec.Name, URL: spec.URL, Preset: spec.Preset, Next: p.Steps}
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
