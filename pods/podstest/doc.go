// Package podstest is the contract of a [pods.Runtime] as tests, and a runtime
// for the tests of others.
//
// [Run] is the one suite that every runtime passes: life cycle, commands,
// files, logs, the way to the app, the way out, limits, and what reconcile needs. It
// drives a [pods.Service] over the runtime, so that the agent and its client are proved
// on the way. What a runtime cannot do its [Subject] declares, and the suite looks
// whether its pods say so. How isolation holds is left to each runtime's own tests.
//
// [NewFake] is a runtime without isolation: the real agent in this process,
// over pipes, with homes in the test's temporary folder. [NewService] is a
// service over it.
package podstest
