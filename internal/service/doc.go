// Package service makes podgate a service of systemd: the text of its unit, with the
// reason of each line, how it gets onto a machine and off again ([Host.Install],
// [Host.Uninstall]), how it is there ([Host.Status]), and what the running server tells
// systemd ([Manager]).
//
// The unit has one source, [Unit]. Releases and docs/server.md take it from here.
//
// A file that is written here begins with a line that has the sum of the rest. Only
// such a file is ever replaced or removed: what somebody else wrote or edited is left,
// unless they say otherwise.
package service
