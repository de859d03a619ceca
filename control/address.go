package control

import "context"

// address is where podgate is reached.
type address struct {
	URL string `json:"url"`
}

func (h *handler) address(context.Context, empty) (address, error) { return address{h.Issuer}, nil }

// Address returns the public URL: of the server when one runs, else the one
// that the configuration gives it.
func (c *Client) Address(ctx context.Context) (string, error) {
	a, err := ask[address](ctx, c, pathAddress, empty{})
	return a.URL, err
}
