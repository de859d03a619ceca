//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// This file is the limit of the disk. Nothing tells when a home grows, so homes
// are measured: now and then, and as soon as so much has come and gone on the file
// system that they are on that one may have come near its limit.

const (
	diskPeriod    = watchPeriod / 10 // between two looks at how much of the disk is left
	measurePeriod = 5 * time.Second  // between two measurements of a home, at least

	// leastAlarm is how much may come and go before a home near its limit is measured.
	leastAlarm = 4 << 20

	// writingMuch is what a process may write in a watchPeriod while its pod's home
	// is over the limit, or the disk nearly full: deleting and logging need less.
	writingMuch = 1 << 20

	// lateWrites is how far over its limit a home may be by what was written before
	// the writer was killed.
	lateWrites = 256 << 20

	// measuresAtOnce bounds what measuring takes of the machine.
	measuresAtOnce = 2
)

// diskWatch is what the watcher remembers of a pod's home.
type diskWatch struct {
	next, soonest time.Time // to measure it: at the latest, and not before
	moved         int64     // bytes that have come and gone on the file system since it was measured last
	alarm         int64     // so many have it measured at once
	over          bool      // it was over the limit at the last measurement
	overAt        int64     // its size when it was found over, or when something had been killed for it
	overSince     time.Time // when that was measured
	writes        writing   // while it is over
	killed        time.Time // when something was killed for it last
	running       chan measured
}

// measured is the outcome of one measurement.
type measured struct {
	bytes int64
	err   error
	began time.Time
	took  time.Duration
}

// writing is what processes had written when a watchPeriod began, in bytes by
// process.
type writing struct {
	began  time.Time
	before map[int]uint64
}

// watchDisk holds the homes to their limits, and stops all that writes while the
// disk that they are on is nearly full. It reports whether it is; was is what it
// reported before.
func (r *Runtime) watchDisk(now time.Time, was bool) (low bool) {
	all := r.runningAll()
	if len(all) == 0 {
		return false
	}
	left, err := leftOn(r.cfg.Dir)
	moved := r.churn.moved(left.room())
	low = err == nil && left.low()
	if low && !was {
		r.log.Warn("the disk that pods are on is nearly full; what writes much in a pod is killed", "left", left.bytes, "floor", diskFloor, "files", left.files)
	}
	table := sync.OnceValue(readProcesses)
	for _, in := range all {
		r.watchHome(in, now, moved)
		switch {
		case low:
			if !was {
				in.watched.lowWrites = writing{}
			}
			in.holdWriters(now, &in.watched.lowWrites, table().below(in.process.Pid), "disk full: the disk of the server is nearly full")
		case in.watched.disk.over:
			if in.holdWriters(now, &in.watched.disk.writes, table().below(in.process.Pid), in.diskFull()) {
				in.watched.disk.killed = now
			}
		}
	}
	return low
}

// diskFull is why something was killed for the limit of the disk.
func (in *instance) diskFull() string {
	return fmt.Sprintf("disk full: the pod's files are over the limit of %d MiB; delete some", in.limits.Disk>>20)
}

// churn is how much comes and goes on a file system. Were it only the room that is
// lost, what one pod deletes would hide what another writes.
type churn struct{ room int64 }

// moved is what has come or gone since the last look, when there was another room.
func (c *churn) moved(room int64) int64 {
	moved := max(room-c.room, c.room-room)
	c.room = room
	return moved
}

// watchHome begins to measure a home when that is due, and judges what came out. moved
// is what has come and gone on its file system since the last call.
func (r *Runtime) watchHome(in *instance, now time.Time, moved int64) {
	w := &in.watched.disk
	w.moved += moved
	if w.running != nil {
		select {
		case m := <-w.running:
			w.running = nil
			in.judge(now, m)
		default:
			return
		}
	}
	due := !now.Before(w.next) || w.moved >= w.alarm && !now.Before(w.soonest)
	if !due {
		return
	}
	select {
	case r.measuring <- struct{}{}:
	default:
		return // the next look is soon
	}
	w.moved, w.running = 0, make(chan measured, 1)
	done := w.running
	r.work.Go(func() {
		defer func() { <-r.measuring }()
		begin := time.Now()
		bytes, err := in.home.measure(readProcesses().below(in.process.Pid))
		done <- measured{bytes, err, begin, time.Since(begin)}
	})
}

// judge looks whether a home is over its limit, and when to look again. Homes that
// take long are measured less often.
func (in *instance) judge(now time.Time, m measured) {
	w := &in.watched.disk
	over := in.limits.Disk > 0 && (m.err != nil || m.bytes > in.limits.Disk)
	w.soonest, w.next = now.Add(m.took), now.Add(max(measurePeriod, 20*m.took))
	w.alarm = max(leastAlarm, (in.limits.Disk-m.bytes)/4)
	if in.limits.Disk == 0 {
		w.alarm = math.MaxInt64
	}
	switch {
	case errors.Is(m.err, errTooManyMappings):
		in.killAll("disk full: what is mapped is more than can be looked through for deleted files")
	case !over:
	case !w.over:
		in.log.Warn("the home of a pod is over its limit", "used", m.bytes, "limit", in.limits.Disk, "error", m.err)
		w.writes, w.overAt, w.overSince = writing{}, m.bytes, m.began
	default:
		in.holdGrowth(now, m)
	}
	if over {
		w.next = now.Add(max(watchPeriod, 4*m.took))
	}
	w.over = over
}

// holdGrowth kills all processes of a pod whose home goes on growing although
// nothing is seen to write in it, as by many short processes. What was written
// before the last kill is no news, up to a bound.
func (in *instance) holdGrowth(now time.Time, m measured) {
	w, limit := &in.watched.disk, in.limits.Disk
	settled := w.overSince.After(w.killed)
	if m.bytes > w.overAt+writingMuch && (settled || m.bytes > limit+max(limit/2, lateWrites)) {
		in.killAll(in.diskFull())
		w.killed, settled = now, false
	}
	if !settled {
		w.overAt, w.overSince = m.bytes, m.began
	}
}

// killAll ends all processes of the pod but the agent.
func (in *instance) killAll(why string) {
	in.killed(why)
	in.log.Warn("the processes of a pod were killed", "reason", why)
	for _, p := range readProcesses().below(in.process.Pid) {
		p.kill()
	}
}

// holdWriters kills what has written much since the watchPeriod began, while it is
// so that nothing should, and reports whether something did.
func (in *instance) holdWriters(now time.Time, w *writing, processes []process, why string) (killed bool) {
	began, before := w.began, w.before
	if now.Sub(began) >= watchPeriod-diskPeriod {
		w.began, w.before = now, map[int]uint64{}
	}
	for _, p := range processes {
		written := writtenBy(p.pid)
		had, known := before[p.pid]
		if _, noted := w.before[p.pid]; !noted {
			w.before[p.pid] = written
		}
		if known && written > had+writingMuch {
			in.killed(why)
			in.log.Warn("a process of a pod was killed because it writes", "while", why)
			p.kill()
			killed = true
		}
	}
	return killed
}

// writtenBy is what a process has written, in bytes: by calls, or by changing
// what it has mapped, whichever is more.
func writtenBy(pid int) uint64 {
	path := fmt.Sprintf("/proc/%d/io", pid)
	return uint64(max(sumFields(path, "wchar:"), sumFields(path, "write_bytes:")))
}
