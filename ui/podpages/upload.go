package podpages

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/wire"
	"podgate/ui/page"
)

// Bounds of an app that comes with a form.
const (
	appTime    = 15 * time.Minute // for all of it to arrive
	maxFolder  = 32 << 20         // bytes of files, or of a zip and of what is in it, which are held in memory
	maxUploads = 3                // such at a time

	// A deploy is seen to be done a moment before its place is given back, and who sees
	// it may send the next at once.
	uploadPatience = 5 * time.Second
)

// handleDeploy is POST /pod/:name/deploys: an app as files of a folder, as a zip, or
// as a tar, packed or not. A tar goes straight into the pod, as large as there is room
// for; the others are read here first.
func (s *Pages) handleDeploy(w http.ResponseWriter, r *http.Request, o opened) error {
	if !o.may(authz.Deploy) {
		s.noteChange(r, o, "deploy", forbidden())
		return forbidden()
	}
	leave, ok := s.uploads.await(r.Context(), o.User.ID, uploadPatience)
	if !ok {
		return s.deploysPage(w, r, o, http.StatusServiceUnavailable, "Several uploads go on at the moment. Wait a little and send it again.")
	}
	free := sync.OnceFunc(leave)
	// What cannot set a deadline is no connection, so nothing is held.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(appTime))
	asked, err := s.receive(r, o)
	if err != nil {
		free()
		return s.deploysFault(w, r, o, err)
	}
	done, err := s.soon(r, o.Actor, func(ctx context.Context) error {
		defer free()
		_, err := s.pods.Deploy(ctx, o.Actor, asked, nil)
		s.discard(ctx, o, asked.Archive)
		return err
	}, func(err error) { s.noteChange(r, o, "deploy", err) })
	if err != nil {
		if free(); !done { // it was not begun
			s.discard(r.Context(), o, asked.Archive)
		}
		return s.deploysFault(w, r, o, err)
	}
	s.SetNotice(w, "pod-deploy", first(done))
	return s.Redirect(w, "/pod/"+o.Name+"/deploys")
}

// discard deletes an archive that came with a form, also when its person has left.
func (s *Pages) discard(ctx context.Context, o opened, archive string) {
	if archive == "" {
		return
	}
	if _, err := s.pods.DeleteFile(context.WithoutCancel(ctx), o.Actor, o.Name, archive, false); err != nil {
		s.Log.Debug("the archive of a deploy stays in its pod", "pod", o.Name, "error", err)
	}
}

// uploadFault is a form whose files cannot be deployed.
type uploadFault string

func (f uploadFault) Error() string { return string(f) }

// receive reads the form: what is to be deployed.
func (s *Pages) receive(r *http.Request, o opened) (pods.DeployRequest, error) {
	asked := pods.DeployRequest{Name: o.Name}
	parts, err := r.MultipartReader()
	if err != nil {
		return asked, page.BadForm(err)
	}
	left := int64(maxFolder)
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return asked, page.BadForm(err)
		}
		name := fileName(part)
		if name == "" {
			continue // a field where nothing was chosen
		}
		if part.FormName() == "archive" && !strings.HasSuffix(strings.ToLower(name), ".zip") {
			// A name of its own: two people may send one at the same time.
			asked.Archive = wire.ForDeploy(rand.Text())
			_, err := s.pods.Upload(r.Context(), o.Actor, o.Name, asked.Archive, 0o600, -1, part)
			if err != nil {
				return asked, err
			}
			break
		}
		raw, err := readUpTo(part, left)
		if err != nil {
			return asked, err
		}
		if part.FormName() == "archive" {
			asked.Files, err = unzip(raw)
			if err != nil {
				return asked, err
			}
			break
		}
		left -= int64(len(raw))
		if !skipped(name) {
			asked.Files = append(asked.Files, pods.SourceFile{Path: name, Content: raw})
		}
		if len(asked.Files) > pods.MaxDeployFiles {
			return asked, tooMany()
		}
	}
	asked.Files = withoutFolder(asked.Files)
	if len(asked.Files) == 0 && asked.Archive == "" {
		return asked, uploadFault("Choose a folder or an archive first. Empty ones have nothing to deploy.")
	}
	return asked, nil
}

func tooMany() error {
	return uploadFault(fmt.Sprintf("There are more than %d files. Leave out what is built or installed, or send them as a tar.gz.", pods.MaxDeployFiles))
}

// readUpTo reads a part of at most so many bytes.
func readUpTo(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, page.BadForm(err)
	}
	if int64(len(raw)) > limit {
		return nil, uploadFault(fmt.Sprintf("That is more than %s. Send it as a tar.gz, which may be as large as the pod has room for.", page.BytesWords(maxFolder)))
	}
	return raw, nil
}

// fileName is the name of a part's file with its folders, which browsers send of a
// chosen folder.
func fileName(part *multipart.Part) string {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(params["filename"], "\\", "/")
}

// skipped reports whether a file of a folder is none of its app: what tools keep for
// themselves, and what is installed anew in the pod.
func skipped(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool {
		return part == ".git" || part == "node_modules" || part == ".DS_Store" || part == "__MACOSX" || part == "__pycache__"
	})
}

// withoutFolder takes the folder away that all files are in.
func withoutFolder(files []pods.SourceFile) []pods.SourceFile {
	if len(files) == 0 {
		return files
	}
	top, _, ok := strings.Cut(files[0].Path, "/")
	for _, f := range files {
		ok = ok && strings.HasPrefix(f.Path, top+"/")
	}
	if !ok || top == "" || top == ".." || top == "." {
		return files
	}
	for i := range files {
		files[i].Path = strings.TrimPrefix(files[i].Path, top+"/")
	}
	return files
}

// unzip returns what is in a zip, as far as it is files.
func unzip(raw []byte) (files []pods.SourceFile, err error) {
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, uploadFault("The file is no zip that can be read. Pack the folder again, as zip or tar.gz.")
	}
	left := int64(maxFolder)
	for _, f := range z.File {
		name := strings.ReplaceAll(f.Name, "\\", "/")
		if !f.Mode().IsRegular() || strings.HasSuffix(name, "/") || skipped(name) {
			continue
		}
		if len(files) == pods.MaxDeployFiles {
			return nil, tooMany()
		}
		content, err := readZipped(f, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(content))
		files = append(files, pods.SourceFile{Path: path.Clean(name), Content: content})
	}
	return files, nil
}

func readZipped(f *zip.File, limit int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, uploadFault("The zip holds a file that cannot be read. Pack the folder again, without a password.")
	}
	defer r.Close()
	raw, err := readUpTo(r, limit)
	var words uploadFault
	if err != nil && !errors.As(err, &words) {
		err = uploadFault("The zip is damaged. Pack the folder again.")
	}
	return raw, err
}
