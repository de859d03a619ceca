package images

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

const maxLogins = 1 << 20 // bytes

// readLogins reads the passwords in a configuration file of Docker: its «auths», by
// registry, as «docker login» writes them. Programs that such a file names as keepers of
// passwords are not run: what they would be asked, and as whom, is nobody's decision
// here. A file that names nothing else is refused.
func readLogins(path string) (map[string]authn.AuthConfig, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxLogins {
		return nil, fmt.Errorf("%s is not a file of at most %d KiB", path, maxLogins>>10)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all, err := parseLogins(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

func parseLogins(raw []byte) (map[string]authn.AuthConfig, error) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
		CredsStore  string            `json:"credsStore"`
		CredHelpers map[string]string `json:"credHelpers"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("is not JSON as Docker writes it: %w", err)
	}
	all := map[string]authn.AuthConfig{}
	for host, a := range file.Auths {
		c := authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
		if a.Auth != "" {
			pair, err := base64.StdEncoding.DecodeString(a.Auth)
			user, password, ok := strings.Cut(string(pair), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("auths has for %q no «auth» of user and password in base64", host)
			}
			c.Username, c.Password = user, strings.TrimRight(password, "\x00")
		}
		if c != (authn.AuthConfig{}) {
			all[registryOf(host)] = c
		}
	}
	if len(all) == 0 && (file.CredsStore != "" || len(file.CredHelpers) > 0) {
		return nil, fmt.Errorf("holds no passwords but names programs that keep them, which podgate does not run; write a file with «auths», as docker login does without such a program")
	}
	return all, nil
}

// registryOf is the registry that a key of «auths» is for, which may be an address.
func registryOf(key string) string {
	_, after, ok := strings.Cut(key, "://")
	if !ok {
		after = key
	}
	host, _, _ := strings.Cut(after, "/")
	if host == dockerHub || host == "registry-1.docker.io" {
		return name.DefaultRegistry
	}
	return host
}
