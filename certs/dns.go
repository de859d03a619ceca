package certs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"
)

// DNS sets the TXT records that prove a name by DNS-01 (RFC 8555 section 8.4).
// One of Script and CloudflareToken is given.
type DNS struct {
	// Script is a program that is run with the words «present» or «cleanup», the
	// record's full name with a dot at its end, and its value.
	Script string
	// CloudflareToken may edit the zone's records there.
	CloudflareToken string
	// Resolvers are asked whether a record has arrived, as host:port; empty:
	// the system's.
	Resolvers []string

	cloudflareURL string // tests have their own
}

// scriptTime is how long one run of the script may take.
const scriptTime = 2 * time.Minute

func (d *DNS) solver(log *zap.Logger) acmez.Solver {
	var provider certmagic.DNSProvider = script{d.Script}
	if d.Script == "" {
		provider = newCloudflare(d.CloudflareToken, d.cloudflareURL)
	}
	return &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: provider, TTL: time.Minute, Resolvers: d.Resolvers, Logger: log,
	}}
}

// script is a DNS provider that is somebody's own program.
type script struct{ path string }

// AppendRecords implements libdns.RecordAppender.
func (s script) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return s.each(ctx, "present", zone, records)
}

// DeleteRecords implements libdns.RecordDeleter.
func (s script) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return s.each(ctx, "cleanup", zone, records)
}

func (s script) each(ctx context.Context, word, zone string, records []libdns.Record) ([]libdns.Record, error) {
	for i, record := range records {
		rr := record.RR()
		if err := s.run(ctx, word, libdns.AbsoluteName(rr.Name, zone), rr.Data); err != nil {
			return records[:i], err
		}
	}
	return records, nil
}

func (s script) run(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")} // nothing of podgate's own
	cmd.WaitDelay = time.Second                                                  // for what the script left behind
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the DNS script failed at «%s»: %w: %s", args[0], err, said.text())
	}
	return nil
}

// tail keeps the end of what a program says.
type tail struct{ end []byte }

const tailSize = 500

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.end = append(t.end, p...)
	if len(t.end) > tailSize {
		t.end = bytes.Clone(t.end[len(t.end)-tailSize:])
	}
	return len(p), nil
}

func (t *tail) text() string { return strings.ToValidUTF8(strings.TrimSpace(string(t.end)), "�") }
