package s3test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// This file is the side of AWS's Signature Version 4 that checks. It is written from
// «Create a signed AWS API request» in the IAM User Guide and «Authenticating Requests:
// Using the Authorization Header» in the S3 API Reference, and from nothing that signs.

const algorithm = "AWS4-HMAC-SHA256"

// signed is what an Authorization header says.
type signed struct {
	access, day, region, service string
	headers                      []string // the names, in lower case
	signature                    string
}

// parseAuthorization reads the header; an error says what is wrong with its form.
func parseAuthorization(header string) (s signed, err error) {
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return s, fmt.Errorf("the algorithm is not %s", algorithm)
	}
	parts := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if _, twice := parts[key]; !ok || twice {
			return s, fmt.Errorf("the part %q", field)
		}
		parts[key] = value
	}
	scope := strings.Split(parts["Credential"], "/")
	if len(parts) != 3 || len(scope) != 5 || scope[4] != "aws4_request" {
		return s, fmt.Errorf("the credential %q", parts["Credential"])
	}
	s = signed{scope[0], scope[1], scope[2], scope[3], strings.Split(parts["SignedHeaders"], ";"), parts["Signature"]}
	lower := strings.ToLower(parts["SignedHeaders"])
	if lower != parts["SignedHeaders"] || !slices.IsSorted(s.headers) || !slices.Contains(s.headers, "host") {
		return s, fmt.Errorf("the signed headers %q", parts["SignedHeaders"])
	}
	return s, nil
}

// signatureOf is the signature that a request as it came over the wire should have.
func (s signed) signatureOf(r *http.Request, payload, date, secret string) (string, error) {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	uri, err := decode(path, false)
	if err != nil {
		return "", err
	}
	canonicalQuery, err := canonicalQuery(query)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", r.Method, encode(uri, true), canonicalQuery)
	for _, name := range s.headers {
		values := slices.Clone(r.Header.Values(name))
		if name == "host" {
			values = []string{r.Host}
		}
		for i, v := range values {
			values[i] = strings.Join(strings.Fields(v), " ")
		}
		fmt.Fprintf(&b, "%s:%s\n", name, strings.Join(values, ","))
	}
	fmt.Fprintf(&b, "\n%s\n%s", strings.Join(s.headers, ";"), payload)
	hashed := sha256.Sum256([]byte(b.String()))
	scope := strings.Join([]string{s.day, s.region, s.service, "aws4_request"}, "/")
	key := mac(mac(mac(mac([]byte("AWS4"+secret), s.day), s.region), s.service), "aws4_request")
	return hex.EncodeToString(mac(key, algorithm+"\n"+date+"\n"+scope+"\n"+hex.EncodeToString(hashed[:]))), nil
}

// canonicalQuery orders the parameters by name and then by value, each encoded. One
// without a value has an empty one.
func canonicalQuery(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	var list [][2]string
	for part := range strings.SplitSeq(raw, "&") {
		var pair [2]string
		for i, text := range strings.SplitN(part, "=", 2) {
			plain, err := decode(text, true)
			if err != nil {
				return "", err
			}
			pair[i] = encode(plain, false)
		}
		list = append(list, pair)
	}
	slices.SortFunc(list, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	var parts []string
	for _, pair := range list {
		parts = append(parts, pair[0]+"="+pair[1])
	}
	return strings.Join(parts, "&"), nil
}

// decode undoes the encoding of a path, or of a query, in which a plus is a space.
func decode(s string, query bool) (string, error) {
	var b []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+' && query:
			b = append(b, ' ')
		case s[i] != '%':
			b = append(b, s[i])
		case i+2 >= len(s):
			return "", fmt.Errorf("%q ends in an escape", s)
		default:
			c, err := hex.DecodeString(s[i+1 : i+3])
			if err != nil {
				return "", fmt.Errorf("%q has a false escape", s)
			}
			b = append(b, c...)
			i += 2
		}
	}
	return string(b), nil
}

// encode is UriEncode of the specification.
func encode(s string, slashes bool) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && slashes:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	_, _ = m.Write([]byte(text)) // never fails
	return m.Sum(nil)
}

// judge returns what is wrong with a request to s, as S3 says it.
func (s *Server) judge(r *http.Request, body []byte) (status int, code string) {
	is, err := parseAuthorization(r.Header.Get("Authorization"))
	date := r.Header.Get("X-Amz-Date")
	at, badTime := time.Parse("20060102T150405Z", date)
	switch {
	case r.Header.Get("Authorization") == "":
		return http.StatusForbidden, "AccessDenied"
	case err != nil, badTime != nil, is.service != "s3", is.day != at.Format("20060102"):
		return http.StatusBadRequest, "AuthorizationHeaderMalformed"
	case is.access != AccessKey:
		return http.StatusForbidden, "InvalidAccessKeyId"
	case is.region != Region:
		return http.StatusBadRequest, "AuthorizationHeaderMalformed"
	case s.now().Sub(at).Abs() > 15*time.Minute:
		return http.StatusForbidden, "RequestTimeTooSkewed"
	}
	for name := range r.Header { // all of these must be signed
		if name := strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(is.headers, name) {
			return http.StatusForbidden, "AccessDenied"
		}
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if want, err := is.signatureOf(r, payload, date, SecretKey); err != nil || !hmac.Equal([]byte(want), []byte(is.signature)) {
		return http.StatusForbidden, "SignatureDoesNotMatch"
	}
	if sum := sha256.Sum256(body); payload != hex.EncodeToString(sum[:]) {
		return http.StatusBadRequest, "XAmzContentSHA256Mismatch"
	}
	if bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); bucket != Bucket {
		return http.StatusNotFound, "NoSuchBucket"
	}
	return 0, ""
}
