package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

func outsideChecks() []check {
	return []check{
		{"client documents", nil, checkDocuments},
		{"pods' names", []string{"name"}, checkPodNames},
	}
}

// documentTime is how long one client's document may take.
const documentTime = 5 * time.Second

// checkDocuments fetches the metadata documents of known clients as podgate
// does, from this machine.
func checkDocuments(ctx context.Context, p *probe) outcome {
	if len(p.Documents) == 0 {
		return outcome{level: Skipped, text: "not asked for"}
	}
	failed := make([]string, len(p.Documents))
	var group sync.WaitGroup
	for i, address := range p.Documents {
		group.Go(func() { failed[i] = p.fetchDocument(ctx, address) })
	}
	group.Wait()
	if text := byReason(p.Documents, failed); text != "" {
		return warning("from this machine not to be reached: "+text,
			"If podgate runs here, these clients connect with what podgate knows of them, and changes on their side are not seen. Let this machine reach them on port 443.")
	}
	return good("%d can be reached from this machine", len(p.Documents))
}

// byReason names the hosts that failed, once each, together by reason.
func byReason(addresses, failed []string) string {
	var reasons []string
	hosts := map[string][]string{}
	for i, reason := range failed {
		if reason == "" {
			continue
		}
		if hosts[reason] == nil {
			reasons = append(reasons, reason)
		}
		if host := hostOf(addresses[i]); !slices.Contains(hosts[reason], host) {
			hosts[reason] = append(hosts[reason], host)
		}
	}
	for i, reason := range reasons {
		reasons[i] = strings.Join(hosts[reason], ", ") + " (" + reason + ")"
	}
	return strings.Join(reasons, "; ")
}

func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Host
	}
	return address
}

// fetchDocument returns what went wrong.
func (p *probe) fetchDocument(ctx context.Context, address string) string {
	got, err := p.send(ctx, ask{method: http.MethodGet, url: address, header: http.Header{"Accept": {"application/json"}}, within: documentTime})
	switch {
	case err != nil:
		return words(err)
	case got.status != http.StatusOK:
		return fmt.Sprintf("%d %s", got.status, http.StatusText(got.status))
	}
	return ""
}

// checkPodNames looks up a name that stands for all pods.
func checkPodNames(ctx context.Context, p *probe) outcome {
	domain := p.PodsDomain
	if domain == "" {
		return outcome{level: Skipped, text: "pods.domain is not known here"}
	}
	if domain == "localhost" || strings.HasSuffix(domain, ".localhost") {
		if p.Target.loopback() {
			return good("NAME.%s is this machine", domain)
		}
		return warning("pods answer at NAME."+domain+", which only their own machine can open", "Set pods.domain to a domain whose subdomains all lead to the server.")
	}
	name := "podgate-doctor." + domain
	found, err := p.addresses(ctx, name)
	if err != nil || len(found) == 0 {
		return warning(name+" leads nowhere", "Make a wildcard DNS record *."+domain+" with the server's address.")
	}
	if !slices.ContainsFunc(found, func(a netip.Addr) bool { return slices.Contains(p.addrs, a) }) {
		return warning(name+" is "+list(found)+", and podgate itself "+list(p.addrs), "If that is not another way to the same server, correct the wildcard DNS record *."+domain+".")
	}
	return good("*.%s is %s", domain, list(found))
}
