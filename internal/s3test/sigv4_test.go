package s3test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // the SHA-256 of it

// The requests and signatures that AWS has published: those of the S3 API Reference and,
// of service «service», of the test suite of Signature Version 4.
func TestPublishedSignatures(t *testing.T) {
	t.Parallel()
	const (
		s3    = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
		suite = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
	)
	for _, c := range []struct{ name, request, headers, credential, names, payload, want string }{
		{"S3 get", "GET /test.txt", "Range: bytes=0-9\nX-Amz-Content-Sha256: " + nothing, s3, "host;range;x-amz-content-sha256;x-amz-date", nothing, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"S3 put", "PUT /test%24file.text", "Date: Fri, 24 May 2013 00:00:00 GMT\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", s3, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"S3 empty value", "GET /?lifecycle", "X-Amz-Content-Sha256: " + nothing, s3, "host;x-amz-content-sha256;x-amz-date", nothing, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"S3 list", "GET /?max-keys=2&prefix=J", "X-Amz-Content-Sha256: " + nothing, s3, "host;x-amz-content-sha256;x-amz-date", nothing, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
		{"get-vanilla", "GET /", "", suite, "host;x-amz-date", nothing, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"post-vanilla", "POST /", "", suite, "host;x-amz-date", nothing, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"get-vanilla-empty-query-key", "GET /?Param1=value1", "", suite, "host;x-amz-date", nothing, "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{"get-vanilla-query-order-key-case", "GET /?Param2=value2&Param1=value1", "", suite, "host;x-amz-date", nothing, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"get-vanilla-query-unreserved", "GET /?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", suite, "host;x-amz-date", nothing, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
		{"get-vanilla-utf8-query", "GET /?%E1%88%B4=bar", "", suite, "host;x-amz-date", nothing, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		{"get-utf8", "GET /%E1%88%B4", "", suite, "host;x-amz-date", nothing, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
		{"get-unreserved", "GET /-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", suite, "host;x-amz-date", nothing, "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
		{"get-header-key-duplicate", "GET /", "My-Header1: value2\nMy-Header1: value2\nMy-Header1: value1", suite, "host;my-header1;x-amz-date", nothing, "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{"get-header-value-order", "GET /", "My-Header1: value4\nMy-Header1: value1\nMy-Header1: value3\nMy-Header1: value2", suite, "host;my-header1;x-amz-date", nothing, "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
		{"get-header-value-trim", "GET /", "My-Header1:  value1\nMy-Header2:  \"a   b   c\"", suite, "host;my-header1;my-header2;x-amz-date", nothing, "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	} {
		host, date, secret := "example.amazonaws.com", "20150830T123600Z", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
		if c.credential == s3 {
			host, date, secret = "examplebucket.s3.amazonaws.com", "20130524T000000Z", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
		}
		wire := c.request + " HTTP/1.1\nHost: " + host + "\n" + c.headers + "\nX-Amz-Date: " + date + "\n\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(strings.ReplaceAll(wire, "\n\nX-Amz", "\nX-Amz"), "\n", "\r\n"))))
		if err != nil {
			t.Fatal(c.name, err)
		}
		is, err := parseAuthorization(algorithm + " Credential=" + c.credential + ", SignedHeaders=" + c.names + ", Signature=" + c.want)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if got, err := is.signatureOf(r, c.payload, date, secret); got != c.want || is.signature != c.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}

// An Authorization header of another form is none.
func TestAuthorizationRefused(t *testing.T) {
	t.Parallel()
	const credential, names, signature = "Credential=a/20150830/r/s3/aws4_request", "SignedHeaders=host;x-amz-date", "Signature=00"
	if _, err := parseAuthorization(algorithm + " " + credential + "," + names + "," + signature); err != nil {
		t.Error(err)
	}
	for _, header := range []string{
		"", "Bearer x", "AWS4-HMAC-SHA1 " + credential + "," + names + "," + signature,
		algorithm + " " + credential + "," + names,
		algorithm + " " + credential + "," + names + "," + signature + "," + signature,
		algorithm + " Credential=a/20150830/r/s3," + names + "," + signature,
		algorithm + " " + credential + ",SignedHeaders=x-amz-date;host," + signature,
		algorithm + " " + credential + ",SignedHeaders=Host," + signature,
		algorithm + " " + credential + ",SignedHeaders=x-amz-date," + signature,
	} {
		if is, err := parseAuthorization(header); err == nil {
			t.Errorf("%q is %+v", header, is)
		}
	}
	for _, raw := range []string{"%", "%4", "%zz"} {
		if got, err := decode(raw, true); err == nil {
			t.Errorf("%q is %q", raw, got)
		}
	}
}
