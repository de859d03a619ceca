package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podgate/pods/wire"
)

// refusedJSON posts v, which must be refused with code.
func (a *testAgent) refusedJSON(code, path string, v any) wire.Fault {
	a.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.refused(code, "POST", path, body)
}

// outsideDir is a folder with a file f that is not below /tmp, which every pod
// has for itself.
func outsideDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "podgate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDelete(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	outside := outsideDir(t)
	a.put("dir/sub/f", "x")
	a.put("kept", "x")
	os.Symlink(outside, a.home("app/dir/out"))
	os.Symlink("kept", a.home("app/link"))
	os.Symlink("..", a.home("app/up"))
	for _, c := range []struct{ code, query string }{
		{wire.FaultBadRequest, ""}, {wire.FaultBadRequest, "?path="}, {wire.FaultBadRequest, "?path=a%00"}, {wire.FaultBadRequest, "?path=kept&recursive=0"},
		{wire.FaultBadRequest, "?path=kept&recursive"}, {wire.FaultBadRequest, "?path=kept&mode=1"}, {wire.FaultIsDir, "?path=dir"}, {wire.FaultIsDir, "?path=dir/"},
		{wire.FaultNotFound, "?path=absent"}, {wire.FaultNotFound, "?path=absent&recursive=1"}, {wire.FaultNotDir, "?path=kept/x"},
		{wire.FaultPath, "?path=.&recursive=1"}, {wire.FaultPath, "?path=up/app&recursive=1"}, {wire.FaultPath, "?path=/home/pod&recursive=1"},
		{wire.FaultPath, "?path=/tmp&recursive=1"}, {wire.FaultPath, "?path=dir/out/f"}, {wire.FaultPath, "?path=/etc/passwd"},
	} {
		a.refused(c.code, "DELETE", wire.PathFile+c.query, nil)
	}
	if info := ask[wire.FileInfo](a, "DELETE", wire.PathFile+"?path=link", nil); info.Type != "symlink" || info.Name != podApp+"/link" {
		t.Errorf("%+v", info)
	}
	if info := ask[wire.FileInfo](a, "DELETE", wire.PathFile+"?path=up/app/dir&recursive=1", nil); info.Type != "dir" {
		t.Errorf("%+v", info)
	}
	left, err := filepath.Glob(a.home("app/*"))
	if err != nil || strings.Join(left, " ") != a.home("app/kept")+" "+a.home("app/up") {
		t.Errorf("left: %q, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "f")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

func TestMove(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("a", "a", "mode", "640")
	for _, body := range []string{"", "{}", `{"from":"a"}`, `{"to":"b"}`, `{"from":"a","to":"b","x":1}`, `{"from":"a","to":"b\u0000"}`, `[]`, `{"from":"a","to":"b"} x`} {
		a.refused(wire.FaultBadRequest, "POST", wire.PathMove, []byte(body))
	}
	a.refused(wire.FaultTooLarge, "POST", wire.PathMove, []byte(strings.Repeat(" ", maxMoveBody+1)))
	a.refusedJSON(wire.FaultExists, wire.PathMove, wire.MoveRequest{From: "a", To: "a"})
	if err := os.Mkdir(a.home("app/dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.refusedJSON(wire.FaultIsDir, wire.PathMove, wire.MoveRequest{From: "a", To: "dir", Overwrite: true})
	a.refusedJSON(wire.FaultPath, wire.PathMove, wire.MoveRequest{From: "../app", To: "dir/x"})
	// A refusal makes no folders on the way.
	a.refusedJSON(wire.FaultNotFound, wire.PathMove, wire.MoveRequest{From: "absent", To: "made/x"})
	if _, err := os.Stat(a.home("app/made")); err == nil {
		t.Error("a refused move made a folder")
	}
	if info := ask[wire.FileInfo](a, "POST", wire.PathMove, wire.MoveRequest{From: "a", To: "made/b"}); info.Name != podApp+"/made/b" || info.Mode != "0640" {
		t.Errorf("%+v", info)
	}
	if b, err := os.ReadFile(a.home("app/made/b")); err != nil || string(b) != "a" {
		t.Errorf("%q, %v", b, err)
	}
}

// A folder that becomes a link while it is deleted and moved leads nowhere.
func TestChangeRace(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	outside := outsideDir(t)
	a.put("real/f", "public")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				os.Rename(a.home("app/real"), a.home("app/away"))
				os.Symlink(outside, a.home("app/real"))
				os.Remove(a.home("app/real"))
				os.Rename(a.home("app/away"), a.home("app/real"))
			}
		}
	}()
	move, _ := json.Marshal(wire.MoveRequest{From: "real/f", To: "stolen", Overwrite: true})
	for range 300 {
		a.do("DELETE", wire.PathFile+"?path=real/f&recursive=1", nil)
		a.do("PUT", wire.PathFile+"?path=real/f", []byte("public"))
		a.do("POST", wire.PathMove, move)
	}
	close(stop)
	<-stopped
	if b, err := os.ReadFile(filepath.Join(outside, "f")); err != nil || string(b) != "secret" {
		t.Errorf("outside: %q, %v", b, err)
	}
}
