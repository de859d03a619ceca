// Package images gets OCI images and keeps them as folders that pods can have as
// their root. Only it knows go-containerregistry.
//
// A [Reference] names an image: in a registry, or in a file or folder of this
// machine. [Store.Get] pulls it once, unpacks it into a folder named after the digest
// of its manifest and remembers which digest the reference had, until [Store.Update].
//
// Nobody vouches for an image, so nothing in one is believed: every byte is compared
// with the digest that the manifest gives for it, sizes and counts are bounded, and
// files are made through an [os.Root], so that no name and no link in an archive leads
// out of the folder. What is unpacked belongs to the user that podgate runs as, whatever
// the archive says, has no set-id bits and holds no devices. It is made beside its
// place and moved there when the disk has all of it.
package images
