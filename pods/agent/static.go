package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runStatic is the file server as a process of its own, so that an app's
// visitors never reach the agent. args are the app folder, the built folder in it
// or nothing, and the address.
func runStatic(args []string) int {
	if len(args) != 3 {
		fmt.Fprintln(os.Stderr, "file server: wants two folders and an address")
		return 2
	}
	l, err := net.Listen("tcp", args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "file server:", err)
		return 1
	}
	srv := &http.Server{
		Handler:           &fileServer{app: args[0], built: args[1], log: os.Stdout},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
	fmt.Fprintln(os.Stderr, "file server:", srv.Serve(l))
	return 1
}

// fileServer serves the files of an app folder: of the folder in it that a build
// has written, else of public/ or dist/ in it when it has no index.html itself. A
// site that was built may draw its pages in the browser: where it has no 404.html,
// a path that names no file gets its index.html. Nothing whose name begins with a dot is served,
// apart from .well-known, and nothing outside the folder, whatever links say.
type fileServer struct {
	app   string
	built string
	log   io.Writer
}

func (s *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	rec.Header().Set("X-Content-Type-Options", "nosniff")
	s.serve(rec, r)
	fmt.Fprintf(s.log, "%s %s %d\n", r.Method, strconv.QuoteToASCII(r.URL.EscapedPath()), rec.status)
}

// statusWriter remembers the status for the log.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// ReadFrom keeps sendfile within reach.
func (w *statusWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(w.ResponseWriter, r)
}

func (s *fileServer) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this address only has files: use GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	// Opened anew each time: a deployment may have replaced the folder.
	root, err := openSite(s.app, s.built)
	if err != nil {
		http.Error(w, "the app folder cannot be read", http.StatusInternalServerError)
		return
	}
	defer root.Close()
	name, ok := siteName(r.URL.Path)
	if !ok {
		notFound(w, r, root)
		return
	}
	f, info, err := openPage(root, name)
	switch {
	case errors.Is(err, errIsFolder):
		redirectToFolder(w, r)
	case err == nil:
		defer f.Close()
		servePage(w, r, f, info)
	case s.built != "" && !strings.Contains(path.Base(name), "."):
		serveOnly(w, r, root)
	default:
		notFound(w, r, root)
	}
}

// serveOnly answers with the index.html of a site that has no 404.html.
func serveOnly(w http.ResponseWriter, r *http.Request, root *os.Root) {
	if _, err := root.Stat("404.html"); err == nil {
		notFound(w, r, root)
		return
	}
	f, info, err := openPlain(root, "index.html")
	if err != nil {
		notFound(w, r, root)
		return
	}
	defer f.Close()
	servePage(w, r, f, info)
}

// openSite opens the folder to be served.
func openSite(app, built string) (*os.Root, error) {
	root, err := os.OpenRoot(app)
	if err != nil {
		return nil, err
	}
	if built != "" {
		defer root.Close()
		return root.OpenRoot(built)
	}
	if _, err := root.Stat("index.html"); err == nil {
		return root, nil
	}
	for _, sub := range []string{"public", "dist"} {
		if r, err := root.OpenRoot(sub); err == nil {
			root.Close()
			return r, nil
		}
	}
	return root, nil
}

// siteName turns a URL path into a name within the site, "/" at its end kept;
// false when it may not be served.
func siteName(p string) (string, bool) {
	if !strings.HasPrefix(p, "/") || len(p) > maxPath || strings.ContainsAny(p, "\x00\\") {
		return "", false
	}
	for i, part := range strings.Split(p[1:], "/") {
		if strings.HasPrefix(part, ".") && !(i == 0 && part == ".well-known") {
			return "", false
		}
	}
	name := path.Clean(p)[1:]
	if name != "" && strings.HasSuffix(p, "/") {
		name += "/"
	}
	return name, true
}

var errIsFolder = errors.New("a folder without a slash at its end")

// openPage opens what name means: the file, the index.html of a folder, or
// name.html.
func openPage(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	if name == "" || strings.HasSuffix(name, "/") {
		return openPlain(root, path.Join(name, "index.html"))
	}
	f, info, err := openPlain(root, name)
	if err == nil {
		return f, info, nil
	}
	if f, info, err := openPlain(root, name+".html"); err == nil {
		return f, info, nil
	}
	if f, _, err := openPlain(root, path.Join(name, "index.html")); err == nil {
		f.Close()
		return nil, nil, errIsFolder
	}
	return nil, nil, err
}

func openPlain(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err = f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, nil, fs.ErrNotExist
	}
	return f, info, nil
}

// servePage answers with ranges and conditions (RFC 9110 sections 13 and 14).
func servePage(w http.ResponseWriter, r *http.Request, f *os.File, info fs.FileInfo) {
	h := w.Header()
	h.Set("Content-Type", contentType(info.Name()))
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	// Files change with every deployment; asking again is cheap by ETag.
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, info.Name(), info.ModTime(), f)
}

// redirectToFolder adds the slash that relative links in an index.html need.
// The target is relative, so that no path can name another host.
func redirectToFolder(w http.ResponseWriter, r *http.Request) {
	target := "./" + path.Base(r.URL.EscapedPath()) + "/"
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusMovedPermanently)
}

// notFound answers with the site's 404.html, if it has one.
func notFound(w http.ResponseWriter, r *http.Request, root *os.Root) {
	f, info, err := openPlain(root, "404.html")
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", contentType("404.html"))
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		io.CopyN(w, f, info.Size())
	}
}

// contentTypes come before those of the system, which differ between machines.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".json": "application/json",
	".map": "application/json", ".webmanifest": "application/manifest+json", ".wasm": "application/wasm",
	".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8",
	".xml": "text/xml; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
	".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".avif": "image/avif", ".ico": "image/x-icon",
	".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".otf": "font/otf", ".mp3": "audio/mpeg",
	".mp4": "video/mp4", ".webm": "video/webm", ".ogg": "audio/ogg", ".wav": "audio/wav", ".pdf": "application/pdf",
	".zip": "application/zip", ".gz": "application/gzip",
}

func contentType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t := contentTypes[ext]; t != "" {
		return t
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}
