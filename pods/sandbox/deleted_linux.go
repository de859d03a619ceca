//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"podgate/pods/wire"
)

// This file counts what files take that have no name any more. They are in no tree,
// and the kernel keeps them for the processes that have them open, run them, or only
// have them mapped.

const (
	// mappingsMost is how much is read a pod of the lists of what its processes have
	// mapped, in bytes: each mapping takes about 100. Programs have some hundreds, and
	// one that wants can have 65,530.
	mappingsMost = 64 << 20

	// mappedMost is how many files without a name a pod may have mapped.
	mappedMost = 50_000

	deletedMark = " (deleted)"
)

var errTooManyMappings = errors.New("the processes have more mapped than can be looked through")

// deletedFiles adds up files of one device that somebody hostile holds.
type deletedFiles struct {
	device uint64
	seen   map[uint64]bool // by number
	bytes  int64
	left   int // of mappingsMost
}

// measureDeleted is what files take on the device that have no name any more and that
// one of the processes holds, in bytes. errTooManyMappings when that cannot be told.
func measureDeleted(processes []process, device uint64) (int64, error) {
	d := &deletedFiles{device: device, seen: map[uint64]bool{}, left: mappingsMost}
	for _, p := range processes {
		_ = d.file(fmt.Sprintf("/proc/%d/exe", p.alive())) // gone
		d.open(p)
	}
	found := map[string]mapping{}
	for _, p := range processes {
		if err := d.mappings(p.alive(), found); err != nil {
			return d.bytes, err
		}
	}
	for _, m := range found {
		// Only an administrator of the whole machine may look at these files, and they
		// may be mapped elsewhere by now. Then they count as far as they were mapped.
		if d.file(m.link) != nil && m.end > 0 && !d.seen[m.number] {
			d.bytes += max(m.end, wire.LeastFile)
		}
	}
	return d.bytes, nil
}

// file counts the file that a link of /proc leads to, once.
func (d *deletedFiles) file(link string) error {
	var st unix.Stat_t
	if err := unix.Stat(link, &st); err != nil {
		return err
	}
	if st.Dev == d.device && st.Nlink == 0 && !d.seen[st.Ino] {
		d.seen[st.Ino] = true
		d.bytes += max(st.Blocks*512, wire.LeastFile)
	}
	return nil
}

// open counts what a process has open. Threads may have open files of their own, and
// those of the first are gone when it has ended before the others.
func (d *deletedFiles) open(p process) {
	var tables []int // threads whose files are different ones
	for _, tid := range p.threads() {
		if sharesFiles(tables, tid) {
			continue
		}
		tables = append(tables, tid)
		dir := fmt.Sprintf("/proc/%d/fd", tid)
		folder, err := os.Open(dir)
		if err != nil {
			continue // gone
		}
		names, _ := folder.Readdirnames(-1) // what cannot be read is closed
		folder.Close()
		for _, name := range names {
			path := filepath.Join(dir, name)
			// What lies very deep has a name too long to be told.
			if target, err := os.Readlink(path); err != nil || strings.HasSuffix(target, deletedMark) {
				_ = d.file(path) // closed
			}
		}
	}
}

// sharesFiles reports whether a thread has the same open files as one of the others.
func sharesFiles(others []int, tid int) bool {
	const kcmpFiles = 2 // (linux/kcmp.h)
	for _, other := range others {
		if order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(other), uintptr(tid), kcmpFiles, 0, 0, 0); errno == 0 && order == 0 {
			return true
		}
	}
	return false
}

// mappings adds what a process has mapped to what was found, by file.
func (d *deletedFiles) mappings(tid int, found map[string]mapping) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", tid))
	if err != nil {
		return nil // gone
	}
	defer f.Close()
	for r := bufio.NewReaderSize(f, 8<<10); ; {
		line, long, err := r.ReadLine()
		if err != nil {
			return nil // the end, or gone
		}
		d.left -= len(line)
		m, ok := parseMapping(string(line), long)
		for long && err == nil && d.left > 0 {
			line, long, err = r.ReadLine()
			d.left -= len(line)
		}
		if d.left <= 0 {
			return errTooManyMappings
		}
		if ok {
			m.link = fmt.Sprintf("/proc/%d/map_files/%s", tid, m.link)
			m.end = max(m.end, found[m.file].end)
			if found[m.file] = m; len(found) > mappedMost {
				return errTooManyMappings
			}
		}
	}
}

// mapping is a part of a file that a process has mapped.
type mapping struct {
	file   string // its device and number, as they are listed
	number uint64
	link   string // to it, in /proc
	end    int64  // of the part, in bytes from the start of the file; 0 for no file of the home
}

// parseMapping reads a line of /proc/PID/maps, or the beginning of a long one. It
// reports whether the file may be one without a name; link is only its last element.
func parseMapping(line string, long bool) (m mapping, ok bool) {
	if !long && !strings.HasSuffix(line, deletedMark) {
		return m, false
	}
	// 7f0000000000-7f0000001000 rw-s 00002000 fe:00 247026      /home/pod/a (deleted)
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 {
		return m, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	begin, err := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	offset, err3 := strconv.ParseUint(fields[2], 16, 63)
	number, err4 := strconv.ParseUint(fields[4], 10, 64)
	if errors.Join(err, err2, err3, err4) != nil || end < begin {
		return m, false
	}
	m = mapping{file: fields[3] + " " + fields[4], number: number, link: fields[0]}
	if strings.HasPrefix(strings.TrimLeft(fields[5], " "), home+"/") {
		m.end = int64(min(offset+(end-begin), math.MaxInt64))
	}
	return m, true
}
