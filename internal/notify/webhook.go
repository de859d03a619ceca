package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const webhookTime = 15 * time.Second // of one try

// signatureHeader proves who posted, and when: «t=SECONDS,v1=HEX», the HMAC-SHA256 of
// the seconds, a point and the body. Who gets it refuses what is minutes old.
const signatureHeader = "Podgate-Signature"

// Webhook is an address that facts are posted to. The administrator chose it, so it
// may be on this machine or in its network; where it sends us on, nobody chose.
type Webhook struct {
	address string
	secret  string
	client  *http.Client
}

// NewWebhook returns the webhook at an address. An empty secret signs nothing.
func NewWebhook(address, secret string) *Webhook {
	return &Webhook{address, secret, &http.Client{
		Timeout:       webhookTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, MaxResponseHeaderBytes: 16 << 10,
			TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		},
	}}
}

// webhookError is an answer that is none, without the address, which may hold a
// secret.
type webhookError struct {
	words string
	final bool
}

func (e *webhookError) Error() string { return e.words }

func (w *Webhook) post(ctx context.Context, now time.Time, fact Fact) error {
	body, err := json.Marshal(fact)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.address, bytes.NewReader(body))
	if err != nil {
		return &webhookError{"the webhook's address is none", true}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "podgate")
	if w.secret != "" {
		req.Header.Set(signatureHeader, sign(w.secret, now, body))
	}
	res, err := w.client.Do(req)
	if err != nil {
		var outer *url.Error // its text has the whole address
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return &webhookError{"the webhook was not reached: " + err.Error(), false}
	}
	_ = res.Body.Close() // whatever it says
	switch c := res.StatusCode; {
	case c >= 200 && c < 300:
		return nil
	case c >= 300 && c < 400:
		return &webhookError{fmt.Sprintf("the webhook answered %d and wants to send us on, which podgate does not follow; configure where it leads", c), true}
	default:
		return &webhookError{fmt.Sprintf("the webhook answered %d", c), c < 500 && c != http.StatusRequestTimeout && c != http.StatusTooManyRequests}
	}
}

// sign returns the header for a body that is posted now.
func sign(secret string, now time.Time, body []byte) string {
	seconds := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
