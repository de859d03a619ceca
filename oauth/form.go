package oauth

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"podgate/store"
)

const (
	maxBody  = 64 << 10 // bytes of a request body
	maxBasic = 8 << 10  // bytes of an Authorization header with Basic
)

// readForm reads an application/x-www-form-urlencoded body. Parameters in the
// URL are not looked at: they would stand in logs (RFC 6749 section 3.2).
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, malformed("Send the parameters in the body as application/x-www-form-urlencoded.")
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		// The cause would quote the body, which may hold a secret.
		return nil, malformed("The body is not well-formed application/x-www-form-urlencoded.")
	}
	return form, nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	return body, nil
}

// one returns the value of a parameter that may be sent once. One without a
// value counts as not sent (RFC 6749 section 3.1); repeated reports more than
// one.
func one(form url.Values, name string) (value string, repeated bool) {
	switch values := form[name]; len(values) {
	case 0:
		return "", false
	case 1:
		return values[0], false
	}
	return "", true
}

// required returns the parameter or says what is wrong with it.
func required(form url.Values, name string) (string, error) {
	value, err := optional(form, name)
	if err == nil && value == "" {
		return "", malformed("The parameter " + name + " is missing.")
	}
	return value, err
}

// optional is required for a parameter that may be absent.
func optional(form url.Values, name string) (string, error) {
	value, repeated := one(form, name)
	if repeated {
		return "", malformed("The parameter " + name + " is sent more than once.")
	}
	return value, nil
}

// parseClient reads who the client says it is (RFC 6749 section 2.3): client_id
// in the body, or in Basic with an empty secret. Clients here are public, so
// one that sends a secret believes to be somebody else.
func parseClient(form url.Values, authorization []string) (store.ClientID, error) {
	id, err := optional(form, "client_id")
	if err != nil {
		return "", err
	}
	secret, err := optional(form, "client_secret")
	if err != nil {
		return "", err
	}
	if len(authorization) > 0 {
		basic, password, err := parseBasic(authorization)
		if err != nil {
			return "", err
		}
		if id != "" && id != basic {
			return "", malformed("The body and the Authorization header name different clients.")
		}
		id, secret = basic, secret+password
	}
	switch {
	case secret != "":
		return "", invalidClient("Clients of this server have no secret. Send client_id alone.")
	case id == "":
		return "", malformed("The parameter client_id is missing.")
	}
	return store.ClientID(id), nil
}

// parseBasic reads one Authorization header of the scheme Basic, whose two
// halves are form-encoded (RFC 6749 section 2.3.1).
func parseBasic(headers []string) (id, secret string, err error) {
	refused := invalidClient("The Authorization header is not one Basic header with client_id and an empty secret.")
	if len(headers) != 1 || len(headers[0]) > maxBasic {
		return "", "", refused
	}
	scheme, encoded, _ := strings.Cut(headers[0], " ")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil || !strings.EqualFold(scheme, "Basic") {
		return "", "", refused
	}
	id, secret, found := strings.Cut(string(raw), ":")
	if !found {
		return "", "", refused
	}
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if errID != nil || errSecret != nil || id == "" {
		return "", "", refused
	}
	return id, secret, nil
}
