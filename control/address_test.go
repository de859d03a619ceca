package control

import "testing"

func TestAddress(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, c *Client) {
		if url, err := c.Address(t.Context()); err != nil || url != "http://localhost:8080" {
			t.Error(url, err)
		}
	})
}
