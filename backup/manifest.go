package backup

import (
	"errors"
	"strings"
	"time"

	"podgate/store"
)

// Format is the number of the form that this build writes and reads. It rises when a
// reader of the one before would misunderstand.
const Format = 1

const (
	application = "podgate"

	nameHead     = "backup.json"
	nameDatabase = "podgate.db"
	nameSettings = "podgate.toml"
	treeCerts    = "certificates"
	treePods     = "pods"
	nameRemoved  = "removed"
	nameIndex    = "index"
	nameManifest = "manifest.json"

	recordSize   = "PODGATE.size"
	recordSparse = "PODGATE.sparse"
	recordLinked = "PODGATE.linked" // other entries of the layer are links to this one
	recordChunks = "PODGATE.chunks" // in a Repository: the size of the content, whose chunks are named in place of it
)

// podTrees are the folders of a pod that are kept, in order.
var podTrees = []string{"home", "logs"}

// The bounds of what is written and read.
const (
	maxDepth     = 256      // folders in each other
	maxPath      = 4095     // bytes of a path below the pod's folder, as for the kernel
	maxFiles     = 500_000  // of a pod
	maxNames     = 32 << 20 // bytes of the paths of these; of all layers together twice as many
	maxOpen      = 32 << 20 // bytes of the names in the folders that a walk is in
	maxLinked    = 16 << 20 // bytes of the names of files with several, in a layer of a pod
	maxExtents   = 5000     // parts of a file with holes
	maxHead      = 1 << 20  // bytes of backup.json
	maxManifest  = 16 << 20 // bytes of manifest.json
	maxPods      = 10_000
	maxSuch      = 200 // bytes of what is said of a file that is left out
	maxLayers    = 9
	maxShownLeft = 5 // files left out that are named
)

// What can be wrong with a backup. The errors that wrap these say what to do.
var (
	ErrDamaged   = errors.New("the backup is damaged")
	ErrNotBackup = errors.New("this is no backup of podgate")
	ErrNewer     = errors.New("the backup was made by a newer podgate")
	ErrKey       = errors.New("the backup cannot be decrypted")
	ErrNotEmpty  = errors.New("the data folder is not empty")
)

// Head is backup.json.
type Head struct {
	Application string    `json:"application"`
	Format      int       `json:"format"`
	Version     string    `json:"version"` // of podgate
	Created     time.Time `json:"created"` // the moment of the database
}

// Manifest says what is in a backup.
type Manifest struct {
	Head
	StoreFormat int    `json:"store_format"` // of the database
	Entries     int    `json:"entries"`      // before the index
	Bytes       int64  `json:"bytes"`        // of their contents
	Index       string `json:"index"`        // SHA-256 of it, in hexadecimal
	Settings    bool   `json:"settings"`
	Pods        []Pod  `json:"pods"`
}

// How a pod was copied.
const (
	PodStill   = "still"   // as of one moment: held still, or not running
	PodRunning = "running" // file by file while it ran
	PodAbsent  = "absent"  // it has no files
)

// Pod is one pod of a backup.
type Pod struct {
	ID      store.PodID `json:"id"`
	Name    string      `json:"name"`
	State   string      `json:"state"`
	Why     string      `json:"why,omitempty"` // it was copied while it ran
	Files   int         `json:"files"`         // entries, those that replace others included
	Bytes   int64       `json:"bytes"`
	LeftOut int         `json:"left_out,omitempty"` // files that are not in it
	Such    []string    `json:"such,omitempty"`     // the first of them, with reasons

	said int  // bytes of its entries' names
	full bool // no further entry has a place
	many bool // the walk ended before it had met all
}

// leave notes a file that is not copied.
func (p *Pod) leave(path, why string) {
	p.LeftOut++
	if len(p.Such) < maxShownLeft {
		such := path + ": " + why
		if len(such) > maxSuch {
			such = path[:min(len(path), maxSuch/2)] + "…: " + why[:min(len(why), maxSuch/2-4)]
		}
		p.Such = append(p.Such, strings.ToValidUTF8(such, "?"))
	}
}
