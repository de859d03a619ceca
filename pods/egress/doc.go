// Package egress decides what a pod may reach outside of it, and makes the
// connection for it. A pod has no address of its own on any network: it asks
// for a name, gets an address that stands for that name and nothing else, and a
// connection to that address is made here, by name, when the policy allows it.
//
// The name is resolved when the connection is made and the address that is
// dialled is the one that was judged, so a resolver that changes its mind gains
// nothing. What is not the public internet is refused whatever a policy says,
// but for what the administrator has opened on purpose.
//
// The package knows neither packets nor the kernel: see [podgate/pods/egress/netstack]
// for those.
package egress
