package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"podgate/internal/web"
	"podgate/oauth"
	"podgate/pods/sandbox"
	"podgate/pods/wire"
)

// check returns everything that is wrong with the values, each with what to
// write instead.
func (s *Settings) check() []Fault {
	var faults []Fault
	report := func(key string, err error) {
		if err != nil {
			faults = append(faults, Fault{Key: key, Source: s.Source(withoutField(key)), Message: err.Error()})
		}
	}
	report("public_url", checkPublicURL(s.PublicURL))
	report("listen", checkListen(s.Listen))
	report("listen", s.checkReached())
	report("data_dir", checkDataDir(s.DataDir))
	report("oauth.access_token_ttl", within(s.OAuth.AccessTokenTTL, 1*minute, 365*day))
	report("oauth.refresh_token_ttl", noneOrWithin(s.OAuth.RefreshTokenTTL, 1*minute, 365*day))
	report("oauth.code_ttl", within(s.OAuth.CodeTTL, Duration(10e9), 10*minute)) // RFC 6749 section 4.1.2
	report("oauth.registration", oneOf(s.OAuth.Registration, registrations))
	if s.OAuth.Registration == "known" && !s.OAuth.ClientMetadataDocuments {
		report("oauth.client_metadata_documents", errors.New(`false keeps out everybody whom registration = "known" lets in; write true, or registration = "off"`))
	}
	for i, scheme := range s.OAuth.RedirectSchemes {
		report(fmt.Sprintf("oauth.redirect_schemes[%d]", i), oauth.CheckRedirectScheme(scheme))
	}
	report("log.level", oneOf(s.Log.Level, logLevels))
	report("log.format", oneOf(s.Log.Format, logFormats))
	s.checkTLS(report)
	s.checkMail(report)
	s.checkNotify(report)
	s.checkBackup(report)
	s.checkMetrics(report)
	s.checkTelemetry(report)
	s.checkPods(report)
	s.checkPlans(report)
	return faults
}

func (s *Settings) checkPods(report func(string, error)) {
	report("pods.domain", checkDomain(s.Pods.Domain, s.PublicURL))
	report("pods.quota_pods", atLeast(s.Pods.QuotaPods, 1, "1"))
	report("pods.quota_memory", atLeast(s.Pods.QuotaMemory, mebibyte, `"1MiB"`))
	s.checkNameLists(report)
	s.checkRegions(report)
}

func (s *Settings) checkRegions(report func(string, error)) {
	names := map[string]bool{}
	for i, r := range s.Regions {
		key := fmt.Sprintf("region[%d].", i)
		report(key+"name", checkName(r.Name, names))
		report(key+"runtime", oneOf(r.Runtime, runtimes))
		report(key+"limits", oneOf(r.Limits, limitModes))
		s.checkNetwork(key, r, report)
		for j, folder := range r.Binds {
			report(fmt.Sprintf("%sbinds[%d]", key, j), checkBind(folder, s.DataDir))
		}
		if i > 0 && r.Runtime == s.Regions[0].Runtime {
			report(key+"runtime", fmt.Errorf("%q is the runtime of another region already, and both would be this machine; leave this region out", r.Runtime))
		}
	}
	if len(s.Regions) == 0 {
		report("region", errors.New("there is none; leave the setting out to have one that runs pods on this machine"))
	} else if !names[s.Pods.DefaultRegion] {
		report("pods.default_region", fmt.Errorf("there is no region %q; write the name of a [[region]]", s.Pods.DefaultRegion))
	}
}

func (s *Settings) checkPlans(report func(string, error)) {
	if len(s.Plans) == 0 {
		report("plan", errors.New("there is none; leave the setting out to have small, medium and large"))
	}
	names := map[string]bool{}
	for i, p := range s.Plans {
		key := fmt.Sprintf("plan[%d].", i)
		report(key+"name", checkName(p.Name, names))
		report(key+"memory", atLeast(p.Memory, 32*mebibyte, `"32MiB"`))
		report(key+"cpus", checkCPUs(p.CPUs))
		report(key+"disk", atLeast(p.Disk, 16*mebibyte, `"16MiB"`))
		report(key+"processes", atLeast(p.Processes, 16, "16"))
		if p.Network != 0 {
			report(key+"network", atLeast(p.Network, Rate(64*kibibyte), `"64KiB/s", or "" for no bound`))
		}
	}
}

// withoutField turns plan[2].memory and binds[1] into the key that has a
// source: plan, binds.
func withoutField(key string) string {
	before, _, _ := strings.Cut(key, "[")
	return before
}

// checkPublicURL accepts a bare origin: https, or http on this machine only,
// because tokens would cross the network in clear.
func checkPublicURL(s string) error {
	if s == "" {
		return nil
	}
	const example = `; write for example "https://pods.example.com"`
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" || !plainASCII(s) {
		return fmt.Errorf("%q is not a web address%s", s, example)
	}
	host := u.Hostname()
	switch {
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return fmt.Errorf("%q is more than scheme and host; write %q", s, u.Scheme+"://"+strings.ToLower(u.Host))
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q begins with neither https:// nor http://%s", s, example)
	case u.Scheme == "http" && !IsLoopback(host):
		return fmt.Errorf("%q would send passwords and tokens in clear over the network; write %q and put a proxy with a certificate in front, or use localhost", s, "https://"+u.Host)
	case !validHost(host):
		return fmt.Errorf("%q has no valid host name%s", s, example)
	}
	return checkOriginForm(s, u)
}

// checkOriginForm insists on the one way to write an origin that browsers
// send: clients compare byte for byte.
func checkOriginForm(s string, u *url.URL) error {
	want := u.Scheme + "://" + u.Host
	if _, port, err := net.SplitHostPort(u.Host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q has no valid port", s)
		}
		if port == map[string]string{"https": "443", "http": "80"}[u.Scheme] {
			want = strings.TrimSuffix(want, ":"+port)
		}
	}
	want = strings.ToLower(strings.TrimSuffix(want, ":"))
	if s != want {
		return fmt.Errorf("%q is not how browsers write it; write %q", s, want)
	}
	return nil
}

func plainASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func checkListen(s string) error {
	const example = `; write for example "localhost:8080", or ":8080" for every address of this machine`
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not an address with a port%s", s, example)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is not a port; write a number up to 65535", port)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && host != "" {
		return fmt.Errorf("%q is not an address of this machine%s", host, example)
	}
	return nil
}

// checkReached refuses to listen where nobody comes: without a public URL
// everything is called localhost.
func (s *Settings) checkReached() error {
	host, port, _ := net.SplitHostPort(s.Listen)
	a, err := netip.ParseAddr(host)
	if err != nil || s.PublicURL != "" || a.IsUnspecified() || a == netip.IPv6Loopback() || a.Unmap().String() == "127.0.0.1" {
		return nil
	}
	return fmt.Errorf("%q is not where http://localhost:%s leads, and without a public_url that is the address; write %q, or set public_url", s.Listen, port, "localhost:"+port)
}

func checkDataDir(s string) error {
	if s == "" || strings.ContainsRune(s, 0) {
		return errors.New(`is empty; write the folder that keeps everything, such as "/var/lib/podgate"`)
	}
	return nil
}

func within(d, least, most Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%s is out of range; write something from %q to %q", d, least.String(), most.String())
	}
	return nil
}

// noneOrWithin is within for a duration that 0 switches off.
func noneOrWithin(d, least, most Duration) error {
	err := within(d, least, most)
	if d == 0 || err == nil {
		return nil
	}
	return fmt.Errorf(`%w, or "0" for none`, err)
}

func atLeast[T ~int | ~int64](n, least T, write string) error {
	if n < least {
		return fmt.Errorf("%v is too little; write at least %s", n, write)
	}
	return nil
}

func checkCPUs(n float64) error {
	if math.IsNaN(n) || n < 0.01 || n > 1024 {
		return fmt.Errorf("%v is not a number of processors; write for example 0.5 or 2", n)
	}
	return nil
}

func checkName(name string, taken map[string]bool) error {
	if !wire.Label(name) {
		return fmt.Errorf("%q is not a name; write lower-case letters, digits and hyphens", name)
	}
	if taken[name] {
		return fmt.Errorf("%q is there twice; write another name", name)
	}
	taken[name] = true
	return nil
}

// checkDomain keeps the pods' names apart from podgate's own.
func checkDomain(domain, publicURL string) error {
	if _, err := netip.ParseAddr(domain); err == nil || !ValidDomain(domain) {
		return fmt.Errorf(`%q is not a domain name; write for example "apps.example.com", whose subdomains lead to this server`, domain)
	}
	if domain == web.LocalPages || strings.HasSuffix(domain, "."+web.LocalPages) {
		return fmt.Errorf("podgate has its own pages at %s, for which pods below it could set cookies; write %q, or another name below localhost", web.LocalPages, "localhost")
	}
	u, err := url.Parse(publicURL)
	if err == nil && strings.HasSuffix(u.Hostname(), "."+domain) {
		return fmt.Errorf("podgate's own host %s would be a pod's name in it; write a domain that does not contain podgate, such as %q", u.Hostname(), "apps."+domain)
	}
	return nil
}

// checkBind refuses what would undo the isolation of pods.
func checkBind(path, dataDir string) error {
	if err := sandbox.CheckBind(path); err != nil {
		return err
	}
	data, err := filepath.Abs(dataDir)
	if err == nil && (overlap(path, data) || overlap(followed(path), followed(data))) {
		return fmt.Errorf("%q and the data folder overlap, which would show pods everybody's data; write another folder", path)
	}
	return nil
}

// followed is the path that a path leads to through links. What is absent, as the
// data folder is before the first start, will be where its folder leads to.
func followed(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	return filepath.Join(followed(dir), filepath.Base(path))
}

func overlap(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}

// oneOf says which words a setting accepts, unless it has one of them.
func oneOf(value string, words []string) error {
	if slices.Contains(words, value) {
		return nil
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return fmt.Errorf("%q is not one of the choices; write %s", value, strings.Join(quoted, " or "))
}
