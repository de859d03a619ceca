package oauth

import "testing"

// What the configuration accepts, New accepts, and the other way round.
func TestCheckRedirectScheme(t *testing.T) {
	t.Parallel()
	for scheme, ok := range map[string]bool{
		"cursor": true, "com.example.app": true, "x-app+1": true,
		"": false, "cursor:": false, "1app": false, "javascript": false, "data": false, "http": false, "https": false, "a b": false, "file": false,
	} {
		err := CheckRedirectScheme(scheme)
		if (err == nil) != ok {
			t.Errorf("%q: %v", scheme, err)
		}
		if accepted := isScheme(scheme) && !forbiddenScheme(scheme); accepted != ok {
			t.Errorf("%q: New thinks otherwise", scheme)
		}
	}
}
