// Package certs gives every handshake its certificate: for podgate's own name
// and for the names of pods.
//
// Certificates come from files that another program keeps (Config.Files), or
// from an authority by ACME (Config.Auto), which this package alone knows of:
// certmagic does the work, with a configuration and a cache of its own, and
// nothing of its package-level defaults is used.
//
// What holds: opening never waits for the network. A certificate that is kept
// serves while the authority is away. A handshake for a name that is neither
// podgate's nor an existing pod's fails before anything is written or anybody
// asked. What is asked of the authority for pods is bounded an hour and in all.
// A stranger learns the state of podgate's own names and nothing of pods'.
package certs
