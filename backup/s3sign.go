package backup

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The form of a signature, version 4 for S3.
const (
	s3Algorithm = "AWS4-HMAC-SHA256"
	s3Time      = "20060102T150405Z"
	s3Empty     = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // the SHA-256 of nothing
)

// s3Key is who asks, and where.
type s3Key struct{ access, secret, region string }

// sign signs a request whose body has that SHA-256, in hexadecimal. All headers that it
// has by then are signed, and must arrive as they are
// (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).
func (k s3Key) sign(r *http.Request, sum string, now time.Time) {
	r.Header.Set("X-Amz-Date", now.UTC().Format(s3Time))
	r.Header.Set("X-Amz-Content-Sha256", sum)
	names := []string{"host"}
	for name := range r.Header {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	scope, signature := k.signature(r, names, sum, now)
	r.Header.Set("Authorization", s3Algorithm+" Credential="+k.access+"/"+scope+",SignedHeaders="+strings.Join(names, ";")+",Signature="+signature)
}

// signature is that of a request with these of its headers, and the scope that it is for.
func (k s3Key) signature(r *http.Request, names []string, sum string, now time.Time) (scope, signature string) {
	var headers strings.Builder
	for _, name := range names {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	canonical := strings.Join([]string{r.Method, s3Escape(r.URL.Path, "/"), s3Query(r.URL.Query()), headers.String(), strings.Join(names, ";"), sum}, "\n")
	day := now.UTC().Format("20060102")
	scope = day + "/" + k.region + "/s3/aws4_request"
	hashed := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + k.secret)
	for _, part := range append(strings.Split(scope, "/"), strings.Join([]string{s3Algorithm, now.UTC().Format(s3Time), scope, hex.EncodeToString(hashed[:])}, "\n")) {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(part)) // never fails
		key = mac.Sum(nil)
	}
	return scope, hex.EncodeToString(key)
}

// s3Query is a query as it is signed and sent: in the order of the names, and of each the
// values, which is not that of the whole parts, as a name may begin another.
func s3Query(q url.Values) string {
	list := make([][2]string, 0, len(q))
	for name, values := range q {
		for _, v := range values {
			list = append(list, [2]string{s3Escape(name, ""), s3Escape(v, "")})
		}
	}
	slices.SortFunc(list, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	parts := make([]string, len(list))
	for i, p := range list {
		parts[i] = p[0] + "=" + p[1]
	}
	return strings.Join(parts, "&")
}

// s3Escape writes all but the letters of RFC 3986 and those of plain in percent.
func s3Escape(s, plain string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~"+plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
