package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bucket is a Storage in a bucket of a server that speaks S3. What is put is one request
// each, so there are never halves of an object.
type Bucket struct {
	BucketConfig
	key    s3Key
	base   *url.URL
	client *http.Client
	pause  time.Duration // after the first failure
}

// BucketConfig is where a Bucket is and who asks for it.
type BucketConfig struct {
	Endpoint     string // https://HOST[:PORT]
	Region       string
	Name, Prefix string // the prefix without slashes around it; "": the whole bucket
	AccessKey    string
	SecretKey    string
	Now          func() time.Time
}

const (
	s3Tries = 4 // of a request
	// A request may take so long, and as long as its bytes take at s3Pace.
	s3Patience = 2 * time.Minute
	s3Pace     = 32 << 10 // bytes a second
	s3Answer   = 16 << 20 // bytes of an answer that is no object
	s3Largest  = 5 << 30  // bytes of an object that one request makes
	s3Most     = 200_000  // objects of a list
	s3Listing  = 10 * time.Minute
)

// NewBucket makes the Storage. It asks nobody.
func NewBucket(cfg BucketConfig) (*Bucket, error) {
	base, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: packsAtOnce + 1, IdleConnTimeout: time.Minute, DisableCompression: true,
		TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: s3Patience, ForceAttemptHTTP2: true,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Bucket{cfg, s3Key{cfg.AccessKey, cfg.SecretKey, cfg.Region}, base, client, time.Second}, nil
}

// String implements Storage.
func (b *Bucket) String() string {
	return strings.TrimSuffix("s3://"+b.Name+"/"+b.Prefix, "/") + " at " + b.base.Host
}

// Listed implements Storage.
func (*Bucket) Listed() time.Duration { return time.Hour }

// Room implements Storage.
func (*Bucket) Room() (int64, error) { return -1, nil }

// Clean implements Storage: there is nothing to clean.
func (*Bucket) Clean() error { return nil }

// below is the name of an object in the bucket.
func (b *Bucket) below(name string) string {
	if b.Prefix == "" {
		return name
	}
	return b.Prefix + "/" + name
}

// Put implements Storage.
func (b *Bucket) Put(ctx context.Context, name string, content io.ReadSeeker) error {
	sum := sha256.New()
	size, err := io.Copy(sum, untilDone{ctx, content})
	if err != nil {
		return err
	}
	if size > s3Largest {
		return fmt.Errorf("%s has %d GiB, and S3 takes up to 5 at once; use a folder as backup.to", name, size>>30)
	}
	resp, err := b.ask(ctx, http.MethodPut, b.below(name), nil, content, size, hex.EncodeToString(sum.Sum(nil)))
	if err != nil {
		return err
	}
	return resp.Close()
}

// Get implements Storage.
func (b *Bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return b.ask(ctx, http.MethodGet, b.below(name), nil, nil, 0, s3Empty)
}

// Delete implements Storage.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	resp, err := b.ask(ctx, http.MethodDelete, b.below(name), nil, nil, 0, s3Empty)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return resp.Close()
}

// List implements Storage.
func (b *Bucket) List(ctx context.Context, prefix string) ([]Object, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s3Listing, fmt.Errorf("%s does not come to the end of its list", b))
	defer cancel()
	var all []Object
	last := ""
	query := url.Values{"list-type": {"2"}, "prefix": {b.below(prefix)}}
	for {
		page, err := b.page(ctx, query)
		if errors.Is(err, errPage) && ctx.Err() == nil {
			page, err = b.page(ctx, query)
		}
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if name, ok := strings.CutPrefix(o.Key, b.below("")); ok {
				all = append(all, Object{name, o.Size})
			}
		}
		if !page.IsTruncated || page.NextContinuationToken == "" {
			return all, nil
		}
		if len(page.Contents) == 0 || page.Contents[len(page.Contents)-1].Key <= last || len(all) > s3Most {
			return nil, fmt.Errorf("%s has a list without an end, or of more than %d objects; use a bucket, or a prefix, for this alone", b, s3Most)
		}
		last = page.Contents[len(page.Contents)-1].Key
		query.Set("continuation-token", page.NextContinuationToken)
	}
}

// s3Page is a part of a list.
type s3Page struct {
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct {
		Key  string
		Size int64
	}
}

// errPage is that an answer broke off, or was no list.
var errPage = errors.New("its list of objects cannot be read")

func (b *Bucket) page(ctx context.Context, query url.Values) (p s3Page, err error) {
	resp, err := b.ask(ctx, http.MethodGet, "", query, nil, 0, s3Empty)
	if isAbsent(err) {
		err = fmt.Errorf("there is no bucket %q; make it first", b.Name)
	}
	if err != nil {
		return p, err
	}
	err = xml.NewDecoder(io.LimitReader(resp, s3Answer)).Decode(&p)
	if err := errors.Join(err, resp.Close()); err != nil {
		return p, fmt.Errorf("%s: %w: %w", b, errPage, err)
	}
	return p, nil
}

// ask sends a request, several times if need be, and returns what a good answer holds.
func (b *Bucket) ask(ctx context.Context, method, key string, query url.Values, content io.ReadSeeker, size int64, sum string) (io.ReadCloser, error) {
	pause := b.pause
	for try := 1; ; try++ {
		answer, err := b.once(ctx, method, key, query, content, size, sum)
		var refused *s3Refusal
		if err == nil || ctx.Err() != nil || try == s3Tries || errors.As(err, &refused) && refused.final() {
			return answer, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		pause *= 4
	}
}

func (b *Bucket) once(ctx context.Context, method, key string, query url.Values, content io.ReadSeeker, size int64, sum string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := fmt.Errorf("%s does not answer in time", b)
	patience := time.AfterFunc(s3Patience+time.Duration(size/s3Pace)*time.Second, func() { cancel(late) })
	end := func() { patience.Stop(); cancel(nil) }
	address := *b.base
	address.Path = "/" + b.Name + "/" + key
	address.RawPath, address.RawQuery = s3Escape(address.Path, "/"), s3Query(query)
	var body io.Reader
	if content != nil {
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			end()
			return nil, err
		}
		body = io.NopCloser(content) // it is sent again when it does not arrive
	}
	req, err := http.NewRequestWithContext(ctx, method, address.String(), body)
	if err != nil {
		end()
		return nil, err
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	b.key.sign(req, sum, b.Now())
	resp, err := b.client.Do(req)
	if err != nil {
		err = fmt.Errorf("%s cannot be reached: %w", b, cmpOr(lateCause(ctx, late), err))
		end()
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		if resp.ContentLength > 0 {
			patience.Reset(s3Patience + time.Duration(resp.ContentLength/s3Pace)*time.Second)
		}
		return &s3Body{resp.Body, end, ctx}, nil
	}
	defer end()
	defer resp.Body.Close()
	return nil, b.refusal(resp)
}

// lateCause is the reason for which a context ended, if it is that one.
func lateCause(ctx context.Context, late error) error {
	if errors.Is(context.Cause(ctx), late) {
		return late
	}
	return nil
}

// s3Body is the content of an answer, whose time is counted until it is closed.
type s3Body struct {
	io.ReadCloser
	end func()
	ctx context.Context
}

// Read implements io.Reader.
func (b *s3Body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = cmpOr(context.Cause(b.ctx), err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *s3Body) Close() error { defer b.end(); return b.ReadCloser.Close() }

// s3Refusal is an answer that is none of the good ones.
type s3Refusal struct {
	status int
	code   string // of S3
	words  string
}

func (r *s3Refusal) Error() string { return r.words }

// Is has what is not there be fs.ErrNotExist.
func (r *s3Refusal) Is(err error) bool {
	return err == fs.ErrNotExist && r.status == http.StatusNotFound && r.code != "NoSuchBucket"
}

// final reports whether the same request will not fare better a moment later.
func (r *s3Refusal) final() bool {
	return r.status < 500 && r.status != http.StatusRequestTimeout && r.status != http.StatusTooManyRequests || r.full()
}

func (r *s3Refusal) full() bool {
	return r.status == http.StatusInsufficientStorage || strings.Contains(r.code, "Quota") || strings.Contains(r.code, "StorageFull") || strings.Contains(r.code, "InsufficientStorage")
}

// refusal says what is wrong and what to do.
func (b *Bucket) refusal(resp *http.Response) error {
	var said struct{ Code, Message, Region string }
	_ = xml.NewDecoder(io.LimitReader(resp.Body, s3Answer)).Decode(&said) // other answers have only a status
	r := &s3Refusal{status: resp.StatusCode, code: said.Code}
	region := resp.Header.Get("X-Amz-Bucket-Region")
	if region == "" {
		region = said.Region
	}
	switch {
	case said.Code == "InvalidAccessKeyId" || said.Code == "SignatureDoesNotMatch":
		r.words = "does not accept the key; see that backup.s3_access_key and the file of backup.s3_secret_key_file belong together"
	case said.Code == "RequestTimeTooSkewed":
		r.words = "says that the clocks differ; set this machine's clock"
		if there, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			off, way := b.Now().Sub(there).Round(time.Minute), "ahead"
			if off < 0 {
				off, way = -off, "behind"
			}
			r.words += fmt.Sprintf(", which is %s %s, as with «timedatectl set-ntp true»", off, way)
		}
	case said.Code == "NoSuchBucket":
		r.words = fmt.Sprintf("has no bucket %q; make it first", b.Name)
	case resp.StatusCode/100 == 3 || said.Code == "AuthorizationHeaderMalformed" || said.Code == "PermanentRedirect":
		r.words = "has the bucket in another region or at another address; see backup.s3_region and backup.s3_endpoint"
		if region != "" {
			r.words += fmt.Sprintf(": it is in %q", region)
		}
	case r.full():
		r.words = "is full; make room there, or keep fewer backups"
	case said.Code == "AccessDenied" || resp.StatusCode == http.StatusForbidden:
		r.words = "does not allow this; the key needs to list, read, write and delete objects of the bucket"
	case resp.StatusCode == http.StatusNotFound:
		r.words = "has no such object"
	default:
		r.words = fmt.Sprintf("answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	r.words = b.String() + " " + r.words
	if said.Code != "" || said.Message != "" {
		r.words += fmt.Sprintf(" (%s: %.200q)", said.Code, said.Message)
	}
	return r
}
