// Package oauth is the authorization server and the guard of the protected
// resource. It speaks OAuth 2.1 as the MCP authorization specification asks
// for it: discovery (RFC 8414, RFC 9728), registration of public clients
// (RFC 7591) and clients that are described by a document at an address of
// their own (draft-ietf-oauth-client-id-metadata-document), authorization codes
// with PKCE S256 (RFC 7636), issuer identification (RFC 9207), resource
// indicators (RFC 8707), revocation (RFC 7009) and bearer tokens (RFC 6750).
//
// Its routes, all from [Server.Routes]:
//
//	GET  /.well-known/oauth-protected-resource[/api/mcp]    RFC 9728
//	GET  /.well-known/oauth-authorization-server[/api/mcp]  RFC 8414
//	POST /api/oauth/register, /register                     RFC 7591
//	GET  /oauth/authorize, /authorize                       RFC 6749 section 4.1.1
//	POST /oauth/authorize, /authorize                       the person's decision
//	POST /api/oauth/token, /token                           RFC 6749 sections 4.1.3 and 6
//	POST /api/oauth/revoke                                  RFC 7009
//
// and [Server.Bearer] goes before the resource itself.
//
// What holds at all times:
//
//   - Issuer, resource and every link come from the configuration, never from
//     a header of the request.
//   - Until client and redirect URI are proved there is nowhere to send an
//     error, so it is shown as a page; even afterwards a person has to follow
//     a link, so that a registered URI never makes an open redirector
//     (RFC 9700 section 4.11.2).
//   - No code is issued without a person's decision on the consent page, in
//     the browser session that saw the page.
//   - A request is parsed once, by a pure function, into a value that later
//     steps cannot misread. The steps after it are fixed.
//   - Spending a code or a refresh token, inserting what it gives and noticing
//     a second use are one transaction of package store.
//   - Secrets exist in clear only in the answer that delivers them. They
//     appear in no log line and no error text.
//
// Pages are left to whoever satisfies [Pages], signing in to [Sessions], the
// rules of what a token may do to package authz.
package oauth
