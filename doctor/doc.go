// Package doctor looks at a podgate from outside, the way a client does, and
// says for each step whether it works and what to do when it does not.
//
// The steps are data (see checks): the address as typed, DNS, TCP, TLS, the
// redirect from http, the discovery documents of RFC 9728 and RFC 8414, the
// challenge of RFC 6750, CORS, and what a proxy in front does to bodies,
// streams and headers. A check depends on others; one whose ground is missing
// is skipped, so that one thing broken gives one fault.
//
// Nothing here changes anything on the server: no client is registered, no
// token is asked for with anything that could be one. All that is read is
// bounded in size and time, and what a server says is cleaned before it is
// shown. Nobody is asked but the server that was named and the hosts of the
// clients' documents, whatever a document or redirect says. The server's side of the two checks that need one is package echo.
package doctor
