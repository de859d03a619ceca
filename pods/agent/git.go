package agent

import (
	"context"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

// cloneScript fetches one commit. Its checked-out files are all that stays.
const cloneScript = `git init -q . && git fetch --depth 1 --no-tags -- "$REPOSITORY" "$REF" && git checkout -q --detach FETCH_HEAD && git submodule update --init --recursive --depth 1 && git rev-parse HEAD`

// tokenHelper gives git the token, for the host of the repository alone.
const tokenHelper = `!f() { test "$1" = get && printf 'username=x-access-token\npassword=%s\n' "$REPOSITORY_TOKEN"; }; f`

func (d *deployment) clone(ctx context.Context) error {
	a := d.agent
	if err := a.clearRelease(d.Release); err != nil {
		return err
	}
	home, name := a.folders.home.root, releaseName(d.Release)
	if err := home.Mkdir(name, 0o755); err != nil {
		return fileFault(path.Join(podHome, name), err)
	}
	env := d.gitEnv()
	if !(preset.App{Path: env.get("PATH")}).HasTool("git") {
		return faultf(wire.FaultFailed, "git is not installed on this server; the person who runs it has to install it, or give the files themselves")
	}
	fetch := step{name: "fetching " + d.Git.URL, say: "git fetch " + env.get("REF"), shell: cloneScript, dir: a.releaseDir(d.Release), env: env.list()}
	if err := a.runStep(ctx, fetch, d.tap); err != nil {
		return err
	}
	head, err := fs.ReadFile(home.FS(), path.Join(name, ".git", "HEAD"))
	if err != nil {
		return fileFault(path.Join(podHome, name), err)
	}
	d.commit = strings.TrimSpace(string(head[:min(len(head), 80)]))
	return fileFault(path.Join(podHome, name), removeTree(home, path.Join(name, ".git")))
}

// gitEnv is the environment of git: without the app's secrets and without settings
// that something in the pod could have left for it.
func (d *deployment) gitEnv() *environ {
	env := newEnviron(d.agent.cfg.Environ)
	ref := d.Git.Ref
	if ref == "" {
		ref = "HEAD"
	}
	for _, kv := range [][2]string{
		{"REPOSITORY", d.Git.URL}, {"REF", ref}, {"GIT_TERMINAL_PROMPT", "0"}, {"GIT_ALLOW_PROTOCOL", "https:http"},
		{"GIT_CONFIG_NOSYSTEM", "1"}, {"GIT_CONFIG_GLOBAL", "/dev/null"}, {"GIT_CONFIG_COUNT", "1"},
		{"GIT_CONFIG_KEY_0", "core.hooksPath"}, {"GIT_CONFIG_VALUE_0", "/dev/null"},
	} {
		env.set(kv[0], kv[1])
	}
	if u, err := url.Parse(d.Git.URL); err == nil && d.Git.Token != "" {
		env.set("GIT_CONFIG_COUNT", "2")
		env.set("GIT_CONFIG_KEY_1", "credential.https://"+u.Host+".helper")
		env.set("GIT_CONFIG_VALUE_1", tokenHelper)
		env.set("REPOSITORY_TOKEN", d.Git.Token)
	}
	return env
}
