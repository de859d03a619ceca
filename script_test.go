package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	bolt "go.etcd.io/bbolt"

	"podgate/control"
	"podgate/store"
)

// Transcripts of the program as people use it, in testdata/script. Besides the
// commands of testscript they have podgate, craft and ready.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"ready": ready},
	})
}

// ready is a command of the scripts: «ready DIR» waits until a server answers
// on the socket of the data folder.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready DIR")
	}
	local := func(*store.DB) (http.Handler, error) { return http.NotFoundHandler(), nil }
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		c, err := control.Open(context.Background(), ts.MkAbs(args[0]), false, local)
		if err != nil {
			continue
		}
		ts.Check(c.Close())
		if c.Running {
			return
		}
	}
	ts.Fatalf("no server answers in %s", args[0])
}

// craft is a helper of the scripts. «craft newer FILE» makes a database of a
// format that no podgate reads yet, «craft foreign FILE» one of another
// program, «craft damaged FILE» takes the account out from under its index,
// «craft pod FILE» gives the first team the pod hello, which is stopped.
func craft() {
	if err := craftFile(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func craftFile(what, path string) error {
	if what == "pod" {
		return craftPod(path)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(func(tx *bolt.Tx) error {
		switch what {
		case "newer":
			meta, err := tx.CreateBucketIfNotExists([]byte("meta"))
			if err != nil {
				return err
			}
			if err := meta.Put([]byte("application"), []byte("podgate")); err != nil {
				return err
			}
			return meta.Put([]byte("format"), binary.BigEndian.AppendUint64(nil, 999))
		case "foreign":
			_, err := tx.CreateBucketIfNotExists([]byte("somebody else's"))
			return err
		case "damaged":
			users := tx.Bucket([]byte("users"))
			key, _ := users.Cursor().First()
			return users.Delete(key)
		}
		return fmt.Errorf("craft does not know %q", what)
	})
}

func craftPod(path string) error {
	db, err := store.Open(path)
	if err != nil {
		return err
	}
	teams, err := db.Teams()
	if err != nil || len(teams) == 0 {
		return errors.Join(err, db.Close())
	}
	p := store.Pod{ID: "crafted", Name: "hello", Team: teams[0].ID, Preset: "static", Plan: "small", Region: "local", Want: store.WantStopped, Created: time.Now()}
	return errors.Join(db.CreatePod(p, time.Now(), func([]store.Pod) error { return nil }), db.Close())
}
