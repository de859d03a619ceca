// Package pods runs the pods of teams: what names, plans and quotas allow, the
// life cycle, and keeping what runs in line with what the store says should
// run.
//
// [Service] is what tools, pages and the ingress call. Every method takes the
// [authz.Actor] and checks it; a pod of another team is answered exactly like
// one that does not exist. The store says what should be, a [Runtime] says what
// is, and Reconcile closes the gap at start and on a timer, so a crash needs no
// path of its own. Inside every pod runs our own agent (pods/agent); this
// package holds its client and believes nothing it says beyond that pod.
package pods
