package oauth

import "testing"

// Browsers do not care about the case of a scheme, so neither does the list of
// those that no configuration can allow.
func TestCheckRedirectScheme(t *testing.T) {
	t.Parallel()
	for scheme, ok := range map[string]bool{
		"cursor": true, "com.example.app": true, "x-app+1": true,
		"": false, "cursor:": false, "1app": false, "javascript": false, "JavaScript": false, "HTTPS": false, "data": false, "http": false, "https": false, "a b": false, "file": false,
	} {
		err := CheckRedirectScheme(scheme)
		if (err == nil) != ok {
			t.Errorf("%q: %v", scheme, err)
		}
	}
}
