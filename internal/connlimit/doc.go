// Package connlimit keeps the other side from holding what is ours: no
// connection waits without end, and no address has all of them.
//
// [Deadlines] stands in front of all handlers. It gives every wait for the
// visitor a time: for the next part of a request's body, for the next part of an
// answer to be taken, and for a body that nobody wants. A stream or a WebSocket
// lives on as long as its reader reads, however long it has nothing to say.
//
// [Bounds] counts connections in all and by address, and what they hold of
// requests that nobody could look at yet. With All 2,048, Each 128 and heads of
// at most 1 MiB that is 160 MiB in all and 12 MiB for an address over HTTP/1.
// Over HTTP/2 a connection may hold one such head, and so an address 128 MiB.
package connlimit
