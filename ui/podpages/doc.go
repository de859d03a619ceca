// Package podpages is what a person sees and does with pods in a browser: all of them
// on the front page, and each with what is below /pod/NAME.
//
// Every page finds its pod through [Pages.pod], which looks among the teams of the
// person: a pod of others and one that is not there get the same bytes. What somebody
// may do there is decided by package authz and nowhere else; a page shows the buttons
// of what is allowed, and the pods service refuses the rest.
package podpages
