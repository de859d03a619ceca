// Package ingress serves the addresses of pods: requests for NAME.domain go to
// the app of the pod NAME, over connections that pods gives, so no port of the host
// is used.
//
// The caller decides which hosts are pods' and hands over the name. A pod is
// hostile here in both directions: it must not learn the visitor's podgate
// session, must not set a cookie that podgate would see, must not tell a front
// proxy what to do, and must not make the server wait, count or remember without
// bound. What it answers is otherwise passed on untouched: streams, server-sent
// events, WebSocket and ranges included. Where there is nothing to pass on, the
// answer is a page without cookies, links or script.
package ingress
