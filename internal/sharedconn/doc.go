// Package sharedconn is TCP connections whose socket somebody else may hold too, who is
// not to be trusted. What belongs to a socket and not to a descriptor is then anybody's to
// change: whether calls wait, and what closing does.
package sharedconn
