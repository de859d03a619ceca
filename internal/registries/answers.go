package registries

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// hostOf returns the host of an address that things are fetched from. Names and
// passwords in it are left behind.
func hostOf(address string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return "", fmt.Errorf("its answer has no address of a host") // not the address itself: it may hold a password
	}
	host := strings.ToLower(u.Hostname())
	if port := u.Port(); port != "" {
		return net.JoinHostPort(host, port), nil
	}
	return host, nil
}

func hostsOf(addresses []string) (hosts []string, err error) {
	for _, a := range addresses {
		host, err := hostOf(a)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

// npmHosts reads the registry, which serves the files too.
func npmHosts(answers []string) ([]string, error) { return hostsOf(answers) }

var (
	pipSetting = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?m)^[^=\n]*\.(index-url|extra-index-url|find-links)=(.*)$`)
	})
	webAddress = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`https?://[^\s'"\\]+`) })
)

// pipHosts reads pip's default index with the host of its files, and then the
// settings, where the default may be replaced and others added.
func pipHosts(answers []string) ([]string, error) {
	defaults := strings.Fields(answers[0])
	if len(defaults) != 2 {
		return nil, fmt.Errorf("pip does not say what its default index is")
	}
	var indexes []string
	replaced := false
	for _, set := range pipSetting().FindAllStringSubmatch(answers[1], -1) {
		indexes = append(indexes, webAddress().FindAllString(set[2], -1)...)
		replaced = replaced || set[1] == "index-url"
	}
	if !replaced {
		indexes = append(indexes, defaults[0])
	}
	hosts, err := hostsOf(indexes)
	if err != nil {
		return nil, err
	}
	standard, err := hostOf(defaults[0])
	if err == nil && slices.Contains(hosts, standard) {
		hosts = append(hosts, defaults[1])
	}
	return hosts, err
}

// packagist is composer's default, which names packages and keeps none: nearly
// all of them are fetched from GitHub.
const packagist = "repo.packagist.org"

// composerHosts reads the repositories, by name or as a list. Those that are
// switched off are false.
func composerHosts(answers []string) ([]string, error) {
	var repositories any
	if err := json.Unmarshal([]byte(answers[0]), &repositories); err != nil {
		return nil, fmt.Errorf("its answer is not understood: %w", err)
	}
	var hosts []string
	for _, address := range addressesIn(repositories) {
		if host, err := hostOf(address); err == nil { // others are folders, or reached by ssh
			hosts = append(hosts, host)
		}
	}
	if slices.Contains(hosts, packagist) {
		hosts = append(hosts, "api.github.com", "codeload.github.com", "github.com")
	}
	return hosts, nil
}

// addressesIn returns every member "url" of a JSON value.
func addressesIn(v any) (all []string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			all = append(all, addressesIn(item)...)
		}
	case map[string]any:
		for name, item := range v {
			if address, ok := item.(string); ok && name == "url" {
				all = append(all, address)
			}
			all = append(all, addressesIn(item)...)
		}
	}
	return all
}

// goHosts reads GOPROXY, addresses after one another, and GOSUMDB, which is
// "off", NAME, NAME+KEY, or either with an address behind it (go help environment).
func goHosts(answers []string) ([]string, error) {
	lines := strings.Split(strings.TrimRight(answers[0], "\n")+"\n", "\n")
	var addresses []string
	for _, proxy := range strings.FieldsFunc(lines[0], func(r rune) bool { return r == ',' || r == '|' }) {
		if strings.HasPrefix(proxy, "http") { // and not direct, off, or a folder
			addresses = append(addresses, proxy)
		}
	}
	if sums := strings.Fields(lines[1]); len(sums) > 0 && sums[0] != "off" {
		name, _, _ := strings.Cut(sums[0], "+")
		address := "https://" + name
		if len(sums) > 1 {
			address = sums[1]
		}
		addresses = append(addresses, address)
	}
	return hostsOf(addresses)
}
