// Package preset is what podgate knows of each kind of app: one file a language,
// and a line for it in [All]. A [Preset] says what its pods need of the place
// where they run, which port the app gets, how it is installed and started, and
// what its first page tells.
//
// Both sides import it. The server reads the descriptions, the ports and the
// needs; whether a region has what a preset needs is for its runtime to say. The
// agent finds the commands, inside the pod, because that means looking at files
// that the pod can change while they are looked at: nothing here follows an
// answer from them anywhere but into a command of the same pod.
//
// Errors are sentences for a person: what is missing, and what to write.
package preset

import (
	"errors"
	"fmt"
	"slices"
)

// appFolder is what people call the folder of an App.
const appFolder = "/home/pod/app"

// Preset is one kind of app.
type Preset struct {
	Name        string // a DNS label
	Description string
	Port        int // what the app gets as $PORT
	Needs       Needs

	Env map[string]string // more for the app's environment; a pod's own settings win
	// InstallEnv is more for the environment of the install step: package managers
	// wait a minute for a network that refuses them at once.
	InstallEnv map[string]string
	Bin        string // folder in the app folder where the install puts programs; first on $PATH

	// Wanted names what would do instead of a Procfile, for an app folder with
	// nothing to start; empty: nothing would.
	Wanted string
	Steps  []Step // of the first page

	// install returns the shell command of the install step; empty: nothing to
	// install.
	install func(App) (string, error)
	// start returns how an app without a Procfile starts; the zero Start: there is
	// nothing to start. nil: such an app is not served but as files.
	start func(App) (Start, error)
	// filesOnly: nothing is ever started but podgate's own file server.
	filesOnly bool
}

// Needs is what the pods of a preset need of the place where they run.
type Needs struct {
	Tool string // program; empty: none
	Get  string // how to get Tool, as the end of «the person who runs it has to …»
}

// Step is one line of the first page: what to do, and with which file.
type Step struct{ Do, Example string }

// All returns the presets in the order in which they are offered.
func All() []Preset { return []Preset{static, nodejs, python, php, golang, command} }

// Find returns the preset of that name.
func Find(name string) (Preset, bool) {
	all := All()
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return all[i], true
}

// Names returns the names of all presets, in order.
func Names() []string {
	var names []string
	for _, p := range All() {
		names = append(names, p.Name)
	}
	return names
}

// Install returns the shell command that installs what the app needs, empty
// when there is nothing to install.
func (p Preset) Install(app App) (string, error) {
	if _, err := p.Beside(app); err != nil || p.install == nil {
		return "", err
	}
	return p.install(app)
}

// Release returns the release line of the app's Procfile, a shell command for after the
// install and before the new app starts; empty when there is none, or nothing but files.
func (p Preset) Release(app App) (string, error) {
	if p.filesOnly {
		return "", nil
	}
	shell, _, err := app.procfileLine("release")
	return shell, err
}

// Start is how an app is started: with podgate's own file server, with a shell
// command, or not at all, because it is only what runs beside it.
type Start struct {
	Idle   bool
	Static bool
	Built  string // folder in the app folder that is the site; empty: the server looks for it
	Shell  string
}

func (s Start) String() string {
	switch {
	case s.Idle:
		return "nothing, only workers and cron lines"
	case s.Built != "":
		return "file server of podgate on " + s.Built
	case s.Static:
		return "file server of podgate"
	}
	return s.Shell
}

// Start returns what starts the app, the first that fits: the web line of a
// Procfile, what the language looks for, an index.html. A Procfile with workers or
// cron lines alone does for an app that answers nowhere. The error says what to
// write when nothing fits.
func (p Preset) Start(app App) (Start, error) {
	if p.filesOnly {
		return Start{Static: true}, nil
	}
	beside, err := p.Beside(app)
	if err != nil {
		return Start{}, err
	}
	shell, procfile, err := app.procfileLine("web")
	start := Start{Shell: shell}
	if err == nil && shell == "" && p.start != nil {
		start, err = p.start(app)
	}
	switch {
	case err != nil:
		return Start{}, err
	case start != Start{}:
		return start, nil
	case len(beside.Workers)+len(beside.Crons) > 0:
		return Start{Idle: true}, nil
	case !procfile && app.first("index.html", "public/index.html", "dist/index.html") != "":
		return Start{Static: true}, nil
	}
	return Start{}, p.nothing()
}

func (p Preset) nothing() error {
	const procfile = "there is nothing to start: write a Procfile with a line «web: COMMAND»"
	if p.Wanted == "" {
		return errors.New(procfile + " into " + appFolder + "; the command must listen on $PORT, then reload")
	}
	return fmt.Errorf("%s, %s into %s, then reload", procfile, p.Wanted, appFolder)
}
