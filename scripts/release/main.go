// Command release makes the files of a release from a checkout: the program for every
// system, Debian packages, a bill of materials, sums, and what installs them.
//
//	go run ./scripts/release --version v1.2.3 --url https://HOST/podgate/v1.2.3 dist
//
// The same checkout with the same Go gives the same bytes, in whatever folder it is and
// at whatever time.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"podgate/internal/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
}

// target is a system that a release is for.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// targets are the systems of a release. Pods run on Linux; on others podgate is what
// reaches a server.
var targets = []target{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

// release is one that is being made.
type release struct {
	source  string // the checkout
	out     string
	version string    // with the v
	url     string    // where the files will be, without a slash at the end
	commit  string    // that the checkout is at
	date    time.Time // of that
	targets []target
	files   []string // that are in out
	said    io.Writer
}

// urlForm has nothing in it that a shell or Ruby would understand.
var urlForm = regexp.MustCompile(`^https?://[A-Za-z0-9.:_-]+(/[A-Za-z0-9._~+-]+)*$`)

var versionForm = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$`)

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(out)
	r := &release{said: out}
	flags.StringVar(&r.source, "source", ".", "the checkout")
	flags.StringVar(&r.version, "version", "", "the `version`, such as v1.2.3")
	flags.StringVar(&r.url, "url", "", "the `address` below which the files will be")
	only := flags.String("only", "", "a `system` such as linux/amd64, to make no other")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("name the folder for the files")
	}
	r.out = flags.Arg(0)
	if !versionForm.MatchString(r.version) {
		return fmt.Errorf("--version %q is not like v1.2.3", r.version)
	}
	if !urlForm.MatchString(r.url) {
		return fmt.Errorf("--url %q is not like https://example.com/podgate/v1.2.3", r.url)
	}
	for _, t := range targets {
		if *only == "" || t.String() == *only {
			r.targets = append(r.targets, t)
		}
	}
	if len(r.targets) == 0 {
		return fmt.Errorf("--only %q is none of %v", *only, targets)
	}
	return r.make(ctx)
}

// make makes the files in a folder that is not there yet, or is empty.
func (r *release) make(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if there, err := os.ReadDir(r.out); err != nil || len(there) > 0 {
		return errors.Join(err, fmt.Errorf("%s is not empty", r.out))
	}
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	programs := map[target]string{}
	for _, t := range r.targets {
		fmt.Fprintf(r.said, "build %s\n", t)
		programs[t] = filepath.Join(work, t.os+"-"+t.arch)
		if err := r.build(ctx, t, programs[t]); err != nil {
			return err
		}
	}
	texts, err := r.texts(ctx, work, programs)
	if err != nil {
		return err
	}
	for _, t := range r.targets {
		program, err := os.ReadFile(programs[t])
		if err != nil {
			return err
		}
		if err := r.archive(t, program, texts); err != nil {
			return err
		}
		if t.os == "linux" {
			if err := errors.Join(r.debian(t, program, texts), r.image(t, program)); err != nil {
				return err
			}
		}
	}
	if err := r.materials(programs); err != nil {
		return err
	}
	if err := r.installers(); err != nil {
		return err
	}
	return r.sums()
}

// look finds out what the checkout is at. What is not committed would be in no other
// checkout.
func (r *release) look(ctx context.Context) error {
	changed, err := r.git(ctx, "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("the checkout has changes that are not committed:\n%s", changed)
	}
	if r.commit, err = r.git(ctx, "rev-parse", "HEAD"); err != nil {
		return err
	}
	seconds, err := r.git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	r.date = time.Unix(n, 0).UTC()
	return err
}

func (r *release) git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", r.source}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// build builds the program with nothing in it of this machine.
func (r *release) build(ctx context.Context, t target, to string) error {
	stamp := fmt.Sprintf("-s -w -buildid= -X main.release=%s -X main.commit=%s -X main.committed=%s", r.version, r.commit, r.date.Format(time.RFC3339))
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", stamp, "-o", to, ".")
	cmd.Dir = r.source
	cmd.Env = append(os.Environ(), "GOOS="+t.os, "GOARCH="+t.arch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", t, err, said)
	}
	return nil
}

// text is a file that comes with the program.
type text struct {
	name    string
	content []byte
}

// texts are what is installed beside the program: licence, notes, configuration, unit,
// and what the program itself writes.
func (r *release) texts(ctx context.Context, work string, programs map[target]string) ([]text, error) {
	var list []text
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md", "config.example.toml"} {
		raw, err := os.ReadFile(filepath.Join(r.source, name))
		if err != nil {
			return nil, err
		}
		list = append(list, text{name, raw})
	}
	list = append(list, text{"podgate.service", []byte(unitFor(service.ProgramPath))})
	here := target{runtime.GOOS, runtime.GOARCH}
	program, ok := programs[here]
	if !ok {
		program = filepath.Join(work, "here")
		if err := r.build(ctx, here, program); err != nil {
			return nil, err
		}
	}
	man := filepath.Join(work, "man")
	if err := exec.CommandContext(ctx, program, "man", man).Run(); err != nil {
		return nil, fmt.Errorf("write the manual pages: %w", err)
	}
	pages, err := os.ReadDir(man)
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		raw, err := os.ReadFile(filepath.Join(man, page.Name()))
		if err != nil {
			return nil, err
		}
		list = append(list, text{"man/" + page.Name(), raw})
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		raw, err := exec.CommandContext(ctx, program, "completion", shell).Output()
		if err != nil {
			return nil, fmt.Errorf("write the completion for %s: %w", shell, err)
		}
		list = append(list, text{"completion/" + shell, raw})
	}
	return list, nil
}

// unitFor is a unit for whatever systemd there is, with the program at a path.
func unitFor(program string) string {
	u := service.Default()
	u.Program, u.Reloads = program, false
	return u.Text()
}

// write puts a file into the release.
func (r *release) write(name string, content []byte, mode os.FileMode) error {
	r.files = append(r.files, name)
	fmt.Fprintf(r.said, "%9d %s\n", len(content), name)
	return os.WriteFile(filepath.Join(r.out, name), content, mode)
}

// sums writes the SHA-256 of every file, as sha256sum -c reads it.
func (r *release) sums() error {
	var b strings.Builder
	slices.Sort(r.files)
	for _, name := range r.files {
		sum, err := r.sum(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s  %s\n", sum, name)
	}
	return r.write("SHA256SUMS", []byte(b.String()), 0o644)
}

func (r *release) sum(name string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(r.out, name))
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), err
}

// number is the version without the v.
func (r *release) number() string { return strings.TrimPrefix(r.version, "v") }

// archiveName is the file for a system.
func (r *release) archiveName(t target) string {
	return fmt.Sprintf("podgate_%s_%s_%s.tar.gz", r.number(), t.os, t.arch)
}
