package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"podgate/internal/s3test"
)

// bucket is the place of one server in the bucket.
func bucket(t testing.TB, s *s3test.Server, prefix string) *Bucket {
	t.Helper()
	b, err := NewBucket(BucketConfig{Endpoint: s.URL, Region: s3test.Region, Name: s3test.Bucket, Prefix: prefix, AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey, Now: time.Now})
	must(t, err)
	b.pause = time.Millisecond
	t.Cleanup(b.client.CloseIdleConnections)
	return b
}

// The examples that the description of the signature gives
// (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).
func TestSignature(t *testing.T) {
	t.Parallel()
	key := s3Key{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"}
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		method, path string
		headers      map[string]string
		sum, want    string
	}{
		{"GET", "/test.txt", map[string]string{"Range": "bytes=0-9"}, s3Empty, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"PUT", "/test$file.text", map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY"}, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"GET", "/?lifecycle", nil, s3Empty, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"GET", "/?max-keys=2&prefix=J", nil, s3Empty, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "https://examplebucket.s3.amazonaws.com"+c.path, nil)
		must(t, err)
		for name, value := range c.headers {
			r.Header.Set(name, value)
		}
		key.sign(r, c.sum, at)
		if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, ",Signature="+c.want) {
			t.Errorf("%s %s: %s", c.method, c.path, got)
		}
	}
}

// Objects come and go as they were, under any name, and of the whole bucket nobody sees
// another's.
func TestBucket(t *testing.T) {
	t.Parallel()
	f := s3test.New(t)
	b, other := bucket(t, f, "a server/ü+$"), bucket(t, f, "another")
	must(t, other.Put(t.Context(), "x", strings.NewReader("theirs")))
	for i := range 5 {
		must(t, b.Put(t.Context(), fmt.Sprint("x", i), strings.NewReader(strings.Repeat("c", i))))
	}
	failures := 0
	f.Refuse(func(*http.Request) (int, string) { // a server that is busy is asked again
		if failures++; failures%3 != 0 {
			return 503, "SlowDown"
		}
		return 0, ""
	})
	list, err := b.List(t.Context(), "x")
	if must(t, err); len(list) != 5 || list[3] != (Object{"x3", 3}) {
		t.Errorf("%v", list)
	}
	raw, err := readObject(t.Context(), b, "x3", 3)
	if must(t, err); string(raw) != "ccc" {
		t.Errorf("%q", raw)
	}
	if _, err := readObject(t.Context(), b, "x4", 3); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Error(err)
	}
	must(t, b.Delete(t.Context(), "x3"))
	must(t, b.Delete(t.Context(), "x3"))
	if _, err := readObject(t.Context(), b, "x3", 3); !isAbsent(err) {
		t.Error(err)
	}
	if raw, err := readObject(t.Context(), other, "x", 10); err != nil || string(raw) != "theirs" {
		t.Error(string(raw), err)
	}
}

// Any name is signed and sent as it is, also where it is spelled with what means something
// in an address.
func TestBucketNames(t *testing.T) {
	t.Parallel()
	f := s3test.New(t)
	names := []string{
		"a b", "a+b", "a%20b", "100%", "a?b", "a#b", "a&b=c", "~.-_", "'()*!;:@,$", "a//b", "/a", " a ", "ü/ß", "日本", "e\u0301", `a\b`, `"<&>"`, "a=", "=", "a;b", "%2F", ".", "..", "a/../b",
	}
	for _, prefix := range []string{"", "p", "with space+plus/ü%"} {
		b := bucket(t, f, prefix)
		for _, name := range names {
			must(t, b.Put(t.Context(), name, strings.NewReader("of "+prefix+name)))
		}
		list, err := b.List(t.Context(), "") // over several pages, whose tokens are made of the names
		must(t, err)
		has := map[string]bool{}
		for _, o := range list {
			has[o.Name] = true
		}
		for _, name := range names {
			if raw, err := readObject(t.Context(), b, name, 100); err != nil || string(raw) != "of "+prefix+name || !has[name] {
				t.Errorf("%q below %q: %q, %v, listed %v", name, prefix, raw, err, has[name])
			}
			must(t, b.Delete(t.Context(), name))
		}
		if left := f.Names(); len(left) > 0 {
			t.Errorf("below %q there is %q", prefix, left)
		}
	}
}

// A query is signed in the order of its names, with values that are empty or several.
func TestBucketQueries(t *testing.T) {
	t.Parallel()
	f := s3test.New(t)
	b := bucket(t, f, "")
	for _, query := range []url.Values{
		{"a": {"1"}, "a-b": {"2"}, "a.b": {"3"}, "a1": {"4"}, "a b": {"5"}, "aa": {"6"}},
		{"lifecycle": {""}}, {"": {""}}, {"x": {"b", "a", ""}}, {"x+y": {"+ %"}, "x y": {"&="}}, {"ü": {"ß"}, "~": {"~"}}, {"prefix": {""}, "delimiter": {"/"}},
	} {
		answer, err := b.ask(t.Context(), http.MethodGet, "", query, nil, 0, s3Empty)
		if err != nil {
			t.Errorf("%v: %v", query, err)
			continue
		}
		must(t, answer.Close())
	}
}

// An answer that breaks off is asked for once more, and is never taken for all there is.
func TestBucketBreaksOff(t *testing.T) {
	t.Parallel()
	f := s3test.New(t)
	b := bucket(t, f, "p")
	content := string(noise(7, 300_000))
	must(t, b.Put(t.Context(), "x", strings.NewReader(content)))
	f.Cut(1)
	raw, err := readObject(t.Context(), b, "x", 1<<20)
	if err != nil || string(raw) != content {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	f.Cut(2)
	if raw, err := readObject(t.Context(), b, "x", 1<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off twice: %d bytes, %v", len(raw), err)
	}
	f.Cut(1)
	if list, err := b.List(t.Context(), ""); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	f.Cut(2)
	if list, err := b.List(t.Context(), ""); !errors.Is(err, errPage) {
		t.Errorf("cut off twice: %v, %v", list, err)
	}
}

// A pack that somebody took out of the bucket is missed by who reads, by name, and the
// next backup does without it.
func TestBucketLosesAPack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": string(noise(1, 90_000))})
	f := s3test.New(t)
	k := keep(t, s, bucket(t, f, "p"), false)
	first := k.must()
	pack := packName(first.Generation, 0, false)
	f.Lose("p/" + pack)
	if _, err := k.at(first).Verify(t.Context()); err == nil || !strings.Contains(err.Error(), pack) {
		t.Errorf("without %s: %v", pack, err)
	}
	second := k.must()
	if _, err := k.at(second).Verify(t.Context()); err != nil || second.Generation == first.Generation {
		t.Errorf("%+v: %v", second, err)
	}
}

// A key that may not write or not delete is said to lack that, and what there is stays.
func TestBucketRights(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("a", map[string]string{"home/f": "x"})
	f := s3test.New(t)
	k := keep(t, s, bucket(t, f, "p"), false)
	k.Daily = 1
	k.must()
	deny := func(method string) {
		f.Refuse(func(r *http.Request) (int, string) {
			if r.Method == method {
				return http.StatusForbidden, "AccessDenied"
			}
			return 0, ""
		})
	}
	deny(http.MethodPut)
	before := f.Names()
	if _, err := k.make(); err == nil || !strings.Contains(err.Error(), "the key needs to list, read, write and delete") {
		t.Errorf("without the right to write: %v", err)
	}
	if now := f.Names(); !slices.Equal(now, before) {
		t.Errorf("there was %q and is %q", before, now)
	}
	deny("")
	k.must()
	deny(http.MethodDelete)
	if err := k.prune(t.Context(), k.list()); err == nil || !strings.Contains(err.Error(), "the key needs to list, read, write and delete") {
		t.Errorf("without the right to delete: %v", err)
	}
	if l := k.list(); len(l.Made) != 2 {
		t.Errorf("%v", l.Made)
	}
}

// A list that never ends, and says so with each page, is given up.
func TestEndlessList(t *testing.T) {
	t.Parallel()
	for name, page := range map[string]string{
		"again": "<Contents><Key>p/podgate-x</Key><Size>1</Size></Contents>",
		"empty": "",
	} {
		var asked atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			fmt.Fprint(w, "<ListBucketResult>", page, "<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken></ListBucketResult>")
		}))
		b, err := NewBucket(BucketConfig{Endpoint: s.URL, Region: "r", Name: "vault", Prefix: "p", Now: time.Now})
		must(t, err)
		if _, err := b.List(t.Context(), "podgate-"); err == nil || !strings.Contains(err.Error(), "without an end") || asked.Load() > 2 {
			t.Errorf("%s: asked %d times, %v", name, asked.Load(), err)
		}
		b.client.CloseIdleConnections()
		s.Close()
	}
}

// What a storage refuses is said in words that name the setting, and without the key.
func TestBucketRefusals(t *testing.T) {
	t.Parallel()
	f := s3test.New(t)
	answer := func(status int, code string) func(*s3test.Server, *Bucket) {
		return func(f *s3test.Server, _ *Bucket) {
			f.Refuse(func(*http.Request) (int, string) { return status, code })
		}
	}
	for name, c := range map[string]struct {
		set  func(*s3test.Server, *Bucket)
		want string
	}{
		"another key":    {func(_ *s3test.Server, b *Bucket) { b.key.secret = "wrong-secret" }, "s3_secret_key_file"},
		"another person": {func(_ *s3test.Server, b *Bucket) { b.key.access = "nobody" }, "s3_access_key"},
		"a clock":        {func(_ *s3test.Server, b *Bucket) { b.Now = func() time.Time { return time.Now().Add(time.Hour) } }, "set this machine's clock, which is 1h0m0s ahead"},
		"a clock behind": {func(*s3test.Server, *Bucket) { f.Ahead(20 * time.Minute) }, "set this machine's clock, which is 20m0s behind"},
		"another region": {func(_ *s3test.Server, b *Bucket) { b.key.region = "us-east-1" }, "s3_region"},
		"no bucket":      {func(_ *s3test.Server, b *Bucket) { b.Name = "absent" }, "make it first"},
		"not allowed":    {answer(403, "AccessDenied"), "the key needs to"},
		"elsewhere":      {answer(301, "PermanentRedirect"), "s3_region"},
		"full":           {answer(507, "XMinioStorageFull"), "keep fewer"},
		"over its quota": {answer(403, "QuotaExceeded"), "keep fewer"},
		"broken":         {answer(500, "InternalError"), "answers 500"},
		"not there":      {func(_ *s3test.Server, b *Bucket) { b.base.Host = "127.0.0.1:1" }, "cannot be reached"},
	} {
		b := bucket(t, f, "p")
		f.Refuse(nil)
		f.Ahead(0)
		c.set(f, b)
		_, err := b.List(t.Context(), "x")
		put := b.Put(t.Context(), "x", strings.NewReader("c"))
		for _, err := range []error{err, put} {
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret ") || isAbsent(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bucket(t, f, "p").Put(ctx, "x", bytes.NewReader(nil)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
