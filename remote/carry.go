package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Send puts a file to the address that create_upload gave. size is negative when it
// is not known before. Of a server that is far away the address must
// be the server's own: see Within.
func Send(ctx context.Context, way http.RoundTripper, address string, body io.Reader, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, address, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	resp, err := way.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("send the file: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return refusal(resp.StatusCode, resp.Body)
	}
	return nil
}

// Fetch opens what is at the address that create_download gave. Close it.
func Fetch(ctx context.Context, way http.RoundTripper, address string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := way.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the file: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(refusal(resp.StatusCode, resp.Body), resp.Body.Close())
	}
	return resp.Body, nil
}

// Within reports whether an address that a server named is one of its own, so that
// nothing of this machine's is sent to, and nothing fetched from, where the server
// itself could not.
func (l Login) Within(address string) bool { return strings.HasPrefix(address, l.Server+"/") }
