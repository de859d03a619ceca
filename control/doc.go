// Package control lets podgate's commands work while the server runs. The
// database has one process at a time, so a command asks that process over a
// unix socket in the data folder (mode 0600; on Linux the peer's user is
// checked as well), and only when no server holds the database does it open
// the file itself and ask the very same handler without a socket in between:
// see [Open].
//
// The protocol is HTTP with JSON, one POST a command, for the same build on
// both sides. Bodies are bounded and read strictly. Whoever reaches the socket
// owns the database anyway, so errors say all they know.
package control
