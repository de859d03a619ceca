//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/pods/images"
	"podgate/pods/preset"
	"podgate/store"
)

// This file gives a pod the files of an image as its root, in the place of the
// machine's. Where the kernel allows it the image lies below a file system of the pod's
// own in memory (overlayfs), so that the pod can change what it sees and no other pod
// sees that; elsewhere its parts are shown read-only.
//
// Nobody vouches for what is in an image. While the root is made, absolute links in it
// would lead into the host's files: so nothing is opened by a name in it before what
// leads there has been made real folders.

// imageTree is the name of the image's tree among what stage 1 is handed.
const imageTree = "image"

// imageSpec is what stage 1 knows of the pod's image.
type imageSpec struct {
	Tree bind `json:"tree"` // its files
	// ReadOnly is why the pod cannot write to them; empty: it may be possible.
	ReadOnly string `json:"read_only,omitempty"`
}

// podImage is the image of a pod that is being started.
type podImage struct {
	images.Image
	note imageNote
	tree int // as root: the detached tree; -1: none
}

// wantsImage reports whether pods with these needs have an image: where they name one
// that is not only for machines without the tool.
func wantsImage(needs preset.Needs) bool {
	return needs.Image != "" && (needs.Tool == "" || !hasTool(needs.Tool))
}

// Provides implements pods.Runtime.
func (r *Runtime) Provides(needs preset.Needs) error { return provides(needs, r.cfg.Images != nil) }

// imageFor gets the image that a pod is to have, and notes it in the pod's folder, which
// keeps it; nil for a pod with the machine's files.
func (r *Runtime) imageFor(ctx context.Context, sp pods.Spec, say func(string)) (*podImage, error) {
	if !wantsImage(sp.Needs) {
		err := os.Remove(filepath.Join(r.folder(sp.ID), imageFile))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	if r.cfg.Images == nil {
		return nil, &pods.ImageError{Words: "this server keeps no images"}
	}
	reference, err := images.Parse(sp.Needs.Image)
	if err != nil {
		return nil, &pods.ImageError{Words: err.Error()}
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	image, release, err := r.cfg.Images.Get(ctx, reference, say)
	if err != nil {
		return nil, imageError(err)
	}
	defer release()
	p := &podImage{Image: image, note: imageNote{Reference: reference.String(), Digest: image.Digest}, tree: -1}
	return p, r.noteImage(sp.ID, p.note)
}

// imageError is err in words for whoever wanted a pod, when it is about the image.
func imageError(err error) error {
	if pull, ok := errors.AsType[*images.PullError](err); ok {
		return &pods.ImageError{Words: pull.Error(), Err: err}
	}
	return err
}

// noteImage writes a pod's note, whole or not at all.
func (r *Runtime) noteImage(id store.PodID, note imageNote) error {
	raw, err := json.Marshal(note)
	if err != nil {
		return err
	}
	folder := r.folder(id)
	before, err := os.ReadFile(filepath.Join(folder, imageFile))
	if err == nil && string(before) == string(raw) {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(folder, imageFile+".new"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(f.Name(), filepath.Join(folder, imageFile)), syncDir(folder))
}

// addImage adds the image to what a pod is started with.
func (r *Runtime) addImage(s *spec, h *launchFiles, i *podImage) error {
	if i == nil {
		return nil
	}
	s.Image = &imageSpec{Tree: bind{Source: i.Root, Target: imageTree}, ReadOnly: r.unlayered}
	s.Agent.Environ = imageEnviron(i.Env)
	if !r.root {
		return nil
	}
	err := h.handTree(&s.Image.Tree)
	if err == nil {
		i.tree = h.treeOf(imageTree)
	}
	return err
}

// noted is what is noted of it, nothing for nil.
func (i *podImage) noted() imageNote {
	if i == nil {
		return imageNote{}
	}
	return i.note
}

// noteReadOnly keeps why a pod that has come up cannot write to its image.
func (r *Runtime) noteReadOnly(id store.PodID, in *instance) error {
	if in.image.ReadOnly == "" {
		return nil
	}
	in.log.Warn("a pod cannot write to its image", "reason", in.image.ReadOnly)
	return r.noteImage(id, in.image)
}

// collectImages removes images that no pod needs, some time.
func (r *Runtime) collectImages() {
	if r.cfg.Images == nil || r.closed {
		return
	}
	r.work.Go(func() {
		if err := r.cfg.Images.Collect(); err != nil {
			r.log.Warn("images that nobody uses are still there", "error", err)
		}
	})
}

// treeOf is the descriptor of a tree that is handed over.
func (h *launchFiles) treeOf(name string) int {
	return int(h.theirs.files[slices.Index(h.theirs.names, name)].Fd())
}

// ownImage has the pod with that first process see the image's files as its own. Where
// the file system does not do that, it says so in s.
func (r *Runtime) ownImage(s *spec, i *podImage, pid int) error {
	if i == nil || i.tree < 0 {
		return nil
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return fail(stepTree, err)
	}
	defer ns.Close()
	err = unix.MountSetattr(i.tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())})
	if err != nil {
		s.Image.ReadOnly = fmt.Sprintf("the file system of the server's data cannot show files under another user (%v)", err)
	}
	return nil
}

// takeImage makes a detached copy of the pod's image, if it has one.
func takeImage(s spec, files donated) (attached, error) {
	if s.Image == nil {
		return attached{}, nil
	}
	return take(s.Image.Tree, files)
}

// Where the parts of a layered root are while it is made. Nothing of it is seen later.
const (
	lowerPlace = ".lower"
	upperPlace = ".upper"
	workPlace  = ".work"
	rootPlace  = ".root"
)

// imageRoot makes the pod's image, if it has one, the root of what the pod will see, and
// the working directory, which is the empty root before. It returns why the pod cannot
// write there.
func imageRoot(s spec, tree attached) (readOnly string, err error) {
	if s.Image == nil {
		return "", nil
	}
	if err := (attached{tree.fd, lowerPlace, true}).attach(); err != nil {
		return "", err
	}
	readOnly = s.Image.ReadOnly
	if readOnly == "" {
		err := overlay()
		if err == nil {
			return "", clearWay(s)
		}
		readOnly = fmt.Sprintf("the kernel has no writable layer for it (%v)", err)
	}
	if err := showParts(s); err != nil {
		return "", err
	}
	return readOnly, errors.Join(unix.Unmount(lowerPlace, unix.MNT_DETACH), os.Remove(lowerPlace))
}

// overlay lays a file system in memory over the image, and makes it the working
// directory. It leaves nothing when it fails.
func overlay() (err error) {
	var undo undo
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	for _, dir := range []string{upperPlace, workPlace, rootPlace} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		undo.add(func() { _ = os.RemoveAll(dir) }) // empty, but for what the kernel puts into workPlace
	}
	fd, err := newFS("overlay", writableAttr, "lowerdir", lowerPlace, "upperdir", upperPlace, "workdir", workPlace, "userxattr", "")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, rootPlace, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	return unix.Fchdir(fd)
}

// clearWay makes folders of all that leads to what is put into the working directory,
// which is the image, and takes away what is in its place.
func clearWay(s spec) error {
	root, err := os.OpenRoot(".")
	if err != nil {
		return err
	}
	defer root.Close()
	places := []string{"etc", "proc", "dev", "tmp", "run", "var/tmp", "home/pod", "var/log/pod"}
	files := append(below("etc", madeInEtc), ".host")
	for _, b := range s.Binds {
		place := strings.TrimPrefix(b.Target, "/")
		places = append(places, filepath.Dir(place))
		if info, err := root.Lstat(place); err == nil && !info.IsDir() {
			files = append(files, place)
		}
	}
	for _, place := range places {
		if err := realFolder(root, place); err != nil {
			return err
		}
	}
	for _, name := range files {
		if filepath.Base(name) == "os-release" {
			continue // the image's own
		}
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// realFolder makes a folder of each part of a path that is something else, or nothing.
func realFolder(root *os.Root, path string) error {
	at := ""
	for part := range strings.SplitSeq(path, "/") {
		at = filepath.Join(at, part)
		info, err := root.Lstat(at)
		if err == nil && info.IsDir() {
			continue
		}
		if err == nil {
			err = root.Remove(at)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := root.Mkdir(at, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// showParts shows the parts of the image in the working directory, an empty root,
// read-only: all but where a pod has files of its own, or the administrator's. What was
// a link there would lead out.
func showParts(s spec) error {
	for folder, but := range map[string][]string{
		"":    {"dev", "etc", "home", "proc", "run", "sys", "tmp", "var", ".host", lowerPlace},
		"etc": madeInEtc,
		"var": {"log", "run", "lock", "tmp"},
	} {
		for _, b := range s.Binds {
			if rest, ok := strings.CutPrefix(strings.TrimPrefix(b.Target, "/"), folder); ok {
				first, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
				but = append(slices.Clip(but), first)
			}
		}
		if err := showFolder(folder, but); err != nil {
			return err
		}
	}
	return nil
}

// showFolder shows what is in one folder of the image, but for what has those names.
// A folder that is none in the image is left out.
func showFolder(folder string, but []string) error {
	dir, err := openFolder(unix.AT_FDCWD, filepath.Join(lowerPlace, folder))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	if folder != "" {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if slices.Contains(but, e.Name()) {
			continue
		}
		if err := showPart(dir, filepath.Join(folder, e.Name()), e); err != nil {
			return fmt.Errorf("/%s: %w", filepath.Join(folder, e.Name()), err)
		}
	}
	return nil
}

// showPart shows one part of the image at place, which is free.
func showPart(dir *os.File, place string, e fs.DirEntry) error {
	if e.Type()&fs.ModeSymlink != 0 {
		target, err := readlinkAt(dir, e.Name())
		if err != nil {
			return err
		}
		return os.Symlink(target, place)
	}
	fd, err := unix.OpenTree(int(dir.Fd()), e.Name(), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return err
	}
	if err := setAttr(fd, "", readOnlyAttr); err != nil {
		return err
	}
	return attached{fd, place, e.IsDir()}.attach()
}

func readlinkAt(dir *os.File, name string) (string, error) {
	buffer := make([]byte, 4096)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// hasBash reports whether the pod will have one. The image is the working directory.
func hasBash(s spec) bool {
	if s.Image == nil {
		_, err := os.Stat("/bin/bash")
		return err == nil
	}
	root, err := os.OpenRoot(".")
	if err != nil {
		return false
	}
	defer root.Close()
	for _, path := range []string{"bin/bash", "usr/bin/bash"} {
		if _, err := root.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// rootSize are the options of the file system in memory that holds the root. With an
// image it also holds what the pod changes of that.
func rootSize(s spec) []string {
	if s.Image == nil {
		return []string{"mode", "0755", "size", "4m", "nr_inodes", "4096"}
	}
	size := "50%"
	if s.Scratch > 0 {
		size = strconv.FormatInt(s.Scratch, 10)
	}
	return []string{"mode", "0755", "size", size, "nr_inodes", "65536"}
}
