package certs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/libdns/libdns"
)

// cloudflareAPI is where Cloudflare's API v4 answers.
const cloudflareAPI = "https://api.cloudflare.com/client/v4"

// cloudflare is a DNS provider: the two calls that DNS-01 needs.
type cloudflare struct {
	token, base string
	client      *http.Client
}

func newCloudflare(token, base string) *cloudflare {
	if base == "" {
		base = cloudflareAPI
	}
	return &cloudflare{token: token, base: base, client: &http.Client{
		Timeout: 30 * time.Second,
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// AppendRecords implements libdns.RecordAppender.
func (c *cloudflare) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	id, err := c.zone(ctx, zone)
	if err != nil {
		return nil, err
	}
	for i, record := range records {
		rr := record.RR()
		body := map[string]any{"type": rr.Type, "name": fullName(rr, zone), "content": quoted(rr.Data), "ttl": int(max(rr.TTL, time.Minute).Seconds())}
		if err := c.call(ctx, http.MethodPost, "/zones/"+id+"/dns_records", body, nil); err != nil {
			return records[:i], err
		}
	}
	return records, nil
}

// DeleteRecords implements libdns.RecordDeleter.
func (c *cloudflare) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	id, err := c.zone(ctx, zone)
	if err != nil {
		return nil, err
	}
	for i, record := range records {
		if err := c.delete(ctx, id, zone, record.RR()); err != nil {
			return records[:i], err
		}
	}
	return records, nil
}

// delete takes away the records of that name with exactly that content: others
// of the same name belong to other challenges.
func (c *cloudflare) delete(ctx context.Context, id, zone string, rr libdns.RR) error {
	var found []struct {
		ID      string `json:"id"`
		Content string `json:"content"`
	}
	query := url.Values{"type": {rr.Type}, "name": {fullName(rr, zone)}, "per_page": {"100"}}
	if err := c.call(ctx, http.MethodGet, "/zones/"+id+"/dns_records?"+query.Encode(), nil, &found); err != nil {
		return err
	}
	for _, f := range found {
		if strings.Trim(f.Content, `"`) != rr.Data {
			continue
		}
		if err := c.call(ctx, http.MethodDelete, "/zones/"+id+"/dns_records/"+url.PathEscape(f.ID), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// zone returns the id of a zone.
func (c *cloudflare) zone(ctx context.Context, zone string) (string, error) {
	var found []struct {
		ID string `json:"id"`
	}
	name := strings.TrimSuffix(zone, ".")
	if err := c.call(ctx, http.MethodGet, "/zones?"+url.Values{"name": {name}}.Encode(), nil, &found); err != nil {
		return "", err
	}
	if len(found) != 1 || found[0].ID == "" {
		return "", fmt.Errorf("cloudflare: the token does not reach the zone %s; it needs the permission «Zone / DNS / Edit» for it", name)
	}
	return url.PathEscape(found[0].ID), nil
}

func fullName(rr libdns.RR, zone string) string {
	return strings.TrimSuffix(libdns.AbsoluteName(rr.Name, zone), ".")
}

// quoted is how Cloudflare wants the content of a TXT record.
func quoted(s string) string { return `"` + s + `"` }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// call sends one request and decodes the result of the answer's envelope.
func (c *cloudflare) call(ctx context.Context, method, path string, body, result any) error {
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var envelope struct {
		Success bool            `json:"success"`
		Result  json.RawMessage `json:"result"`
		Errors  []struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&envelope); err != nil {
		return fmt.Errorf("cloudflare: status %d and no JSON: %w", resp.StatusCode, err)
	}
	if !envelope.Success {
		all := fmt.Errorf("cloudflare: status %d", resp.StatusCode)
		for _, e := range envelope.Errors {
			all = errors.Join(all, fmt.Errorf("cloudflare: %d %.200s", e.Code, e.Message))
		}
		return all
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(envelope.Result, result)
}
