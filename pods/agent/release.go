package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"podgate/pods/wire"
)

// Where apps are that were deployed. The app folder is a link to one of them.
const (
	appName  = "app"
	releases = "releases"
	dataName = "data" // for what an app keeps from deploy to deploy
	nextApp  = wire.OwnPrefix + "-app"
	outer    = wire.OwnPrefix + "-packed" // an archive's folder while what it holds is taken out
	making   = wire.OwnPrefix + "-making" // a link to the release that is being made
)

const maxRelease = 1 << 30

func releaseName(n int) string { return path.Join(releases, strconv.Itoa(n)) }

func (a *agent) releaseDir(n int) string { return filepath.Join(a.cfg.Home, releaseName(n)) }

// ensureFolders makes the folders that an app finds. What else has the name of the
// app folder is left for a person to mend.
func (a *agent) ensureFolders() error {
	home := a.folders.home.root
	_, err := home.Lstat(appName)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := home.Stat(releaseName(0)); err == nil {
			return home.Symlink(releaseName(0), appName) // a first deploy was cut off
		}
		err = home.Mkdir(appName, 0o755)
	}
	if err != nil {
		return err
	}
	if err := home.Mkdir(dataName, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// findApp says what is wrong when there is no app folder to start in.
func (a *agent) findApp() error {
	if err := a.ensureFolders(); err != nil {
		return err
	}
	info, err := os.Stat(a.appDir())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		target, _ := os.Readlink(a.appDir())
		return faultf(wire.FaultFailed, "%s leads to %.200q, which is not there; deploy again or roll back", podApp, target)
	case err != nil:
		return err
	case !info.IsDir():
		return faultf(wire.FaultFailed, "%s is no folder; give it another name with a command, then reload", podApp)
	}
	return nil
}

// leadsTo reports whether the app folder is that of a release, by whatever link.
func (a *agent) leadsTo(release int) bool {
	app, err := os.Stat(a.appDir())
	if err != nil {
		return false
	}
	info, err := os.Stat(a.releaseDir(release))
	return err == nil && os.SameFile(app, info)
}

// follow makes the app folder lead to a release, as the server has it. A folder
// that somebody has put in place of the link stays, and so does a link to what is
// not there.
func (a *agent) follow(release int) error {
	home := a.folders.home.root
	target, err := home.Readlink(appName)
	if err != nil || target == releaseName(release) {
		return nil // a folder, or nothing yet
	}
	if info, err := home.Stat(releaseName(release)); err != nil || !info.IsDir() {
		return nil
	}
	return a.link(releaseName(release))
}

// point makes the app folder lead to a release, in one step when it was a link. A
// folder that was there before the first deploy becomes a release itself. back makes
// the app folder what it was.
func (a *agent) point(release int) (back func() error, err error) {
	home := a.folders.home.root
	target, err := home.Readlink(appName)
	back = func() error { return a.link(target) }
	if err != nil {
		aside, err := a.setAside()
		if err != nil {
			return nil, fileFault(podApp, err)
		}
		back = func() error {
			if err := home.Remove(appName); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return home.Rename(aside, appName)
		}
	}
	if err := a.link(releaseName(release)); err != nil {
		return nil, errors.Join(err, back())
	}
	return back, nil
}

// link makes the app folder a link, whatever link it was before.
func (a *agent) link(target string) error {
	home := a.folders.home.root
	if err := removeTree(home, nextApp); err != nil {
		return fileFault(podHome, err)
	}
	if err := home.Symlink(target, nextApp); err != nil {
		return fileFault(podHome, err)
	}
	return fileFault(podApp, home.Rename(nextApp, appName))
}

// setAside gives what has the name of the app folder the name of release 0, or one
// like it, and returns that.
func (a *agent) setAside() (name string, err error) {
	home := a.folders.home.root
	if err := home.MkdirAll(releases, 0o755); err != nil {
		return "", err
	}
	name = a.freeName(0)
	return name, home.Rename(appName, name)
}

// prune deletes the releases that nobody goes back to, and never what runs. What has
// another name than a release of a deploy that was is not ours to delete: keep has the
// newest of these.
func (a *agent) prune(keep []int) {
	home := a.folders.home.root
	entries, err := fs.ReadDir(home.FS(), releases)
	if err != nil {
		return
	}
	newest := slices.Max(append(keep, 0))
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n <= 0 || n > newest || strconv.Itoa(n) != e.Name() || slices.Contains(keep, n) || a.leadsTo(n) {
			continue
		}
		if err := removeTree(home, releaseName(n)); err != nil {
			a.log.Printf("delete release %d: %v", n, err)
		}
	}
}

// serveRelease is PUT /v1/release: the source of a deploy.
func (a *agent) serveRelease(w http.ResponseWriter, r *http.Request) error {
	q, err := parseRelease(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if err := a.clearRelease(q.Release); err != nil {
		return err
	}
	u := newReleaseUnpacker(r.Context(), q.Max)
	home := a.folders.home.root
	if err := u.unpackInto(home, releaseName(q.Release), r.Body); err != nil {
		return errors.Join(err, removeTree(home, releaseName(q.Release)), removeTree(home, making))
	}
	writeJSON(w, http.StatusOK, u.out)
	return nil
}

type releaseQuery struct {
	Release int
	Max     int64
}

func parseRelease(raw string) (releaseQuery, error) {
	q, err := parseQuery(raw, "release", "max")
	if err != nil {
		return releaseQuery{}, err
	}
	n, err := q.number("release", 0, 1, maxRelease)
	if err != nil {
		return releaseQuery{}, err
	}
	limit, err := q.number("max", 0, 1, wire.MaxTransfer)
	if err == nil && (n == 0 || limit == 0) {
		err = badRequest("release or max is missing")
	}
	return releaseQuery{Release: int(n), Max: limit}, err
}

// clearRelease makes room for a new release: nothing has its name then, and the
// folder that it comes into is there.
func (a *agent) clearRelease(n int) error {
	home := a.folders.home.root
	if a.leadsTo(n) {
		return faultf(wire.FaultExists, "release %d is the app that runs", n)
	}
	err := home.MkdirAll(releases, 0o755)
	if err == nil {
		if _, lerr := home.Lstat(releaseName(n)); lerr == nil {
			// No deploy had that number yet, so somebody else made it.
			err = home.Rename(releaseName(n), a.freeName(n))
		}
	}
	if err == nil {
		err = errors.Join(removeTree(home, making), home.Symlink(releaseName(n), making))
	}
	return fileFault(path.Join(podHome, releases), err)
}

// inTheMaking is the release that is being made, 0 for none.
func (a *agent) inTheMaking() int {
	target, err := a.folders.home.root.Readlink(making)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(path.Base(target))
	if err != nil || n < 1 || target != releaseName(n) {
		return 0
	}
	return n
}

// clearUnfinished takes away the release in the making of which the pod ended. It
// comes after the app folder leads to what runs, since a deploy may have moved that
// and not been noted.
func (a *agent) clearUnfinished() {
	home := a.folders.home.root
	if n := a.unfinished; n != 0 && !a.leadsTo(n) {
		if err := removeTree(home, releaseName(n)); err != nil {
			a.log.Printf("delete release %d: %v", n, err)
		}
	}
	removeTree(home, making)
}

// freeName is the name of a release, or one like it, that nothing has.
func (a *agent) freeName(n int) string {
	name := releaseName(n)
	for i := 2; ; i++ {
		if _, err := a.folders.home.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s-%d", releaseName(n), i)
	}
}
