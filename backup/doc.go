// Package backup copies a whole server into one file, and makes a data folder of it
// again: the database as of one moment, the files of its pods, certificates and the
// configuration.
//
// # The file
//
// It is a tar in PAX form, compressed with zstd, and encrypted with age where there
// are recipients. Its entries stand in this order, each name once:
//
//	backup.json         what it is: format, version, time
//	podgate.db          the database
//	podgate.toml        the configuration, if the server had a file of it
//	certificates/…
//	pods/ID/LAYER/…     the files of a pod: home and logs
//	index               a line for each entry before: SHA-256, type, mode, time,
//	                    size, name, what a link leads to
//	manifest.json       how many entries there are, the SHA-256 of index, and how
//	                    each pod was copied
//
// Within a tree entries are ordered as a walk meets them, folders before what is in
// them, so that a reader needs to remember no more than where it is. A pod that runs
// is copied in layers: the first while it runs, the last while it is held still, with
// what has changed in between. A layer's entries replace those of the one before, and
// pods/ID/LAYER/removed names what is no longer there, each name ended by a NUL.
//
// A file with holes has the record PODGATE.size, its length, and PODGATE.sparse, the
// parts that are in the entry, as OFFSET+LENGTH in hexadecimal with commas between.
// Owners are not kept: a pod's files belong to whom its runtime gives them.
//
// # Copies
//
// [CopyTree] copies a pod's files to another folder in the same way, without a tar in
// between: it is how snapshots are made and how they become homes.
//
// # Trust
//
// A pod changes its files while they are read, and a backup may come from anywhere.
// Both are read through [os.Root] folder by folder, no link is followed, and what is
// no plain file, folder or link is left out. A backup is read to its end and proved
// whole before anything of it is written, unpacked beside the folder that it is to
// become, and put in place by one rename.
package backup
