// Package connlimit keeps the other side from holding what is ours: no
// connection waits without end, and no address has all of them.
//
// [Deadlines] stands in front of all handlers. It gives every wait for the
// visitor a time: for the next part of a request's body, for the next part of an
// answer to be taken, and for a body that nobody wants. A stream or a WebSocket
// lives on as long as its reader reads, however long it has nothing to say.
package connlimit
