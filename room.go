package main

import (
	"context"
	"os"
	"time"

	"podgate/control"
	"podgate/pods/sandbox"
)

const (
	// roomEvery is how often a reserve that was given up is tried to be made again.
	roomEvery = 5 * time.Second

	// leastRoom is the free disk, in bytes, below which the next writes may fail.
	leastRoom = 1 << 20
)

// keepRoom keeps a part of the disk back for what takes rights away, and says when
// there is none.
func (srv *server) keepRoom(ctx context.Context) {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	said := ""
	for {
		err, words := srv.db.DiskFailed(), "nothing is written any more"
		if err == nil {
			err, words = srv.db.KeepReserve(), "the reserve for revoking and deleting on a full disk could not be made"
		}
		switch {
		case err == nil && said != "":
			said = ""
			srv.log.Info("there is room on the disk again")
		case err != nil && err.Error() != said:
			said = err.Error()
			srv.log.Error(words, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// problem is one thing that keeps the server from what it is there for.
type problem struct {
	Part  string `json:"part"` // disk, data_folder, pods, certificates or backup
	Words string `json:"words"`
}

// problems looks for what is wrong outside the database. The words are the same
// for all causes; the log has the cause.
func (srv *server) problems(certificates bool) []problem {
	found := []problem{}
	if now, err := os.Stat(control.DatabasePath(srv.settings.DataDir)); err != nil || !os.SameFile(now, srv.database) {
		found = append(found, problem{"data_folder", "The database is not where it was when podgate started. What is written now may be lost: stop podgate and put the data folder back."})
	} else if srv.db.DiskFailed() != nil {
		found = append(found, problem{"disk", "The disk that holds podgate's database does not work. Mend it and start podgate again."})
	} else if left, err := sandbox.DiskLeft(srv.settings.DataDir); srv.db.OutOfRoom() || err != nil || left < leastRoom {
		found = append(found, problem{"disk", "The disk that holds podgate's database is full. Make room on it."})
	}
	if !srv.podsCanRun() {
		found = append(found, problem{"pods", "No region can run pods. The log says why."})
	}
	if !certificates {
		found = append(found, problem{"certificates", "A certificate is missing or has run out."})
	}
	if srv.backupTooOld() {
		found = append(found, problem{"backup", "The newest backup is older than it may be. The log says why."})
	}
	return found
}

func (srv *server) podsCanRun() bool {
	for _, r := range srv.pods.RegionStates() {
		if r.Err == nil {
			return true
		}
	}
	return false
}
