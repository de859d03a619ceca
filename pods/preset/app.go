package preset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const procfile = "Procfile"

// App is the folder of an app, as presets look at it.
type App struct {
	Dir  string
	Path string // $PATH of the app
}

// has reports whether rel is a regular file in the folder.
func (a App) has(rel string) bool {
	info, err := os.Stat(filepath.Join(a.Dir, rel))
	return err == nil && info.Mode().IsRegular()
}

// first returns the first of names that is a file, else nothing.
func (a App) first(names ...string) string {
	for _, n := range names {
		if a.has(n) {
			return n
		}
	}
	return ""
}

// HasTool reports whether the app could run a program of that name.
func (a App) HasTool(name string) bool {
	for _, d := range filepath.SplitList(a.Path) {
		info, err := os.Stat(filepath.Join(d, name))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// run starts tool with args, which are as the shell reads them; an error when the
// tool is not there.
func (a App) run(tool, args string) (Start, error) {
	if !a.HasTool(tool) {
		return Start{}, fmt.Errorf("%s is not installed here, and the app needs it", tool)
	}
	return Start{Shell: "exec " + tool + " " + args}, nil
}

// procfileLine returns the command of one line «name: command» of the
// Procfile. present says that there is a Procfile at all.
func (a App) procfileLine(name string) (shell string, present bool, err error) {
	text, err := a.procfileText()
	return procfileEntry(text, name), a.has(procfile), err
}

func procfileEntry(text, name string) string {
	for key, value := range procfileEntries(text) {
		if key == name {
			return value
		}
	}
	return ""
}

// procfileEntries yields the lines «name: command» of a Procfile.
func procfileEntries(text string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
			if ok && !yield(strings.TrimSpace(key), strings.TrimSpace(value)) {
				return
			}
		}
	}
}

// maxRead is the longest file that read takes, in bytes.
const maxRead = 64 << 10

// read returns the content of a small regular file of the folder. It waits for
// no pipe and no device.
func (a App) read(rel string) ([]byte, error) {
	f, err := os.OpenFile(filepath.Join(a.Dir, rel), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRead+1))
	if err == nil && len(b) > maxRead {
		err = fmt.Errorf("it is over %d bytes", maxRead)
	}
	return b, bare(err)
}

// bare drops the path of a file error: it is that of the disk, which people do
// not know.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
