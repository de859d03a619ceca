package agent

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io/fs"
	"path"
	"strings"

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

// writeWelcome puts the first page into an app folder that is empty or absent. What an
// earlier life of the pod had not brought to its place there goes.
func (a *agent) writeWelcome(spec wire.AppSpec) error {
	root := a.folders.home.root
	entries, err := fs.ReadDir(root.FS(), "app")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileFault(podApp, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), wire.OwnPrefix+"-") {
			return nil
		}
		if err := removeTree(root, path.Join(appName, e.Name())); err != nil {
			return fileFault(podApp, err)
		}
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
