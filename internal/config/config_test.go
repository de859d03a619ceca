package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// same compares configurations. Lists that are empty and lists that are absent
// mean the same.
func same(a, b Config) string {
	return cmp.Diff(a, b, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Ignore()),
		cmp.FilterValues(func(a, b []netip.Prefix) bool { return len(a)+len(b) == 0 }, cmp.Ignore()))
}

// loadText loads a configuration file with that text.
func loadText(t testing.TB, text string, env ...string) (*Settings, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "podgate.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file, env, nil)
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	s, err := Load("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := same(resolved(Default()), s.Config); diff != "" {
		t.Error(diff)
	}
}

// resolved is a configuration as it comes out of loading.
func resolved(c Config) Config {
	s := Settings{Config: c}
	s.resolve()
	return s.Config
}

// The example is the documentation: it names every key, with its default.
func TestExampleIsComplete(t *testing.T) {
	t.Parallel()
	s, err := Load("../../config.example.toml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := same(resolved(Default()), s.Config); diff != "" {
		t.Errorf("the example differs from the defaults (-default +example):\n%s", diff)
	}
	var tree map[string]any
	if _, err := toml.DecodeFile("../../config.example.toml", &tree); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(append(configKeys(), tableKeys()...))), exampleKeys(tree)); diff != "" {
		t.Errorf("keys (-known +example):\n%s", diff)
	}
}

func exampleKeys(tree map[string]any) []string {
	var keys []string
	for name, value := range tree {
		switch value := value.(type) {
		case map[string]any:
			for inner := range value {
				keys = append(keys, name+"."+inner)
			}
		case []map[string]any:
			keys = append(keys, name)
			for inner := range value[0] {
				keys = append(keys, name+"."+inner)
			}
		default:
			keys = append(keys, name)
		}
	}
	slices.Sort(keys)
	return keys
}

// Every key can be set in the environment, and says so.
func TestEveryKeyHasAVariable(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"public_url": "https://pods.example.com", "listen": ":1", "data_dir": "/d", "trusted_proxies": "10.0.0.0/8, ::1",
		"oauth.access_token_ttl": "2d", "oauth.refresh_token_ttl": "180d", "oauth.code_ttl": "1m", "oauth.registration": "off", "oauth.client_metadata_documents": "false", "oauth.redirect_schemes": "cursor,zed",
		"tls.mode": "off", "tls.listen": ":8443", "tls.http_listen": ":8081", "tls.cert_files": "/a.pem,/b.pem", "tls.key_files": "/a.key,/b.key",
		"tls.email": "ada@example.com", "tls.ca": "https://ca.example.com/dir", "tls.ca_root_file": "/root.pem", "tls.eab_key_id": "kid",
		"tls.eab_key_file": "/eab", "tls.pod_certificates_per_hour": "1", "tls.pod_certificates": "2", "tls.dns_script": "",
		"tls.cloudflare_token_file": "/token", "tls.dns_resolvers": "9.9.9.9:53",
		"pods.domain": "apps.example.com", "pods.default_region": "here", "pods.quota_pods": "3", "pods.quota_memory": "1GiB",
		"mail.host": "smtp.example.com", "mail.port": "2525", "mail.tls": "tls", "mail.username": "ada", "mail.password_file": "/mail", "mail.from": "podgate <a@example.com>",
		"notify.events": "pod.recovered", "notify.webhook_url": "https://example.com/hook", "notify.webhook_secret_file": "/hook",
		"metrics.listen": "localhost:9464", "metrics.token_file": "/metrics",
		"telemetry.endpoint": "https://collector.example.com", "telemetry.headers_file": "/headers", "telemetry.percent": "7", "telemetry.proxied": "true",
		"backup.to": "/b", "backup.schedule": "01:02", "backup.keep_daily": "1", "backup.keep_weekly": "2", "backup.keep_monthly": "3", "backup.recipients": "age1a,age1b", "backup.max_age": "3d",
		"backup.s3_endpoint": "https://s3.example.com", "backup.s3_region": "eu-1", "backup.s3_access_key": "AK", "backup.s3_secret_key_file": "/s3",
		"log.level": "debug", "log.format": "json",
		"region":    `[{name = "here", runtime = "sandbox", limits = "require", binds = ["/opt/a", "/opt/b"], network = "names", names = ["a.example.com", "@packages"], allow_local = ["10.0.0.1:5432"], mail = true}]`,
		"name_list": `[{name = "packages", names = ["registry.example.com"]}]`,
		"plan":      `[{name = "one", memory = "64MiB", cpus = 2, disk = "1GiB", processes = 20, network = "20MiB/s"}]`,
	}
	var env []string
	for _, key := range configKeys() {
		value, ok := values[key]
		if !ok {
			t.Errorf("this test does not know %s", key)
		}
		env = append(env, envName(key)+"="+value)
	}
	s, err := Load("", env, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range configKeys() {
		if got := s.Source(key); got != envName(key) {
			t.Errorf("%s came from %s", key, got)
		}
	}
	want := Config{
		PublicURL: "https://pods.example.com", Listen: ":1", DataDir: "/d",
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		TLS: TLS{
			"off", ":8443", ":8081", []string{"/a.pem", "/b.pem"}, []string{"/a.key", "/b.key"}, "ada@example.com", "https://ca.example.com/dir",
			"/root.pem", "kid", "/eab", 1, 2, "", "/token", []string{"9.9.9.9:53"},
		},
		OAuth:     OAuth{2 * day, 180 * day, minute, "off", false, []string{"cursor", "zed"}},
		Pods:      Pods{"apps.example.com", "here", 3, gibibyte},
		Mail:      Mail{"smtp.example.com", 2525, "tls", "ada", "/mail", "podgate <a@example.com>"},
		Notify:    Notify{[]string{"pod.recovered"}, "https://example.com/hook", "/hook"},
		Backup:    Backup{"/b", TimeOfDay(62), 1, 2, 3, []string{"age1a", "age1b"}, 3 * day, "https://s3.example.com", "eu-1", "AK", "/s3"},
		Metrics:   Metrics{"localhost:9464", "/metrics"},
		Telemetry: Telemetry{"https://collector.example.com", "/headers", 7, true},
		Log:       Log{"debug", "json"},
		Regions:   []Region{{Name: "here", Runtime: "sandbox", Limits: "require", Binds: []string{"/opt/a", "/opt/b"}, Network: "names", Names: []string{"a.example.com", "@packages"}, AllowLocal: []string{"10.0.0.1:5432"}, Mail: true}},
		Plans:     []Plan{{"one", 64 * mebibyte, 2, gibibyte, 20, Rate(20 * mebibyte)}},
		NameLists: []NameList{{"packages", []string{"registry.example.com"}}},
	}
	if diff := same(want, s.Config); diff != "" {
		t.Error(diff)
	}
}

func TestLaterSourcesWin(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "podgate.toml")
	if err := os.WriteFile(file, []byte("listen = \":1\"\ndata_dir = \"file\"\n[log]\nlevel = \"warn\""), 0o600); err != nil {
		t.Fatal(err)
	}
	env := Environ{"PODGATE_CONFIG=" + file, "PODGATE_LISTEN=:2", "PODGATE_DATA_DIR=env"}
	s, err := Load("", env, map[string]string{"listen": ":3"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][2]string{
		"listen": {":3", "--listen"}, "data_dir": {"env", "PODGATE_DATA_DIR"}, "log.level": {"warn", file}, "log.format": {"text", "default"},
	} {
		if got := fieldOf(&s.Config, key).String(); got != want[0] || s.Source(key) != want[1] {
			t.Errorf("%s = %q from %s, want %q from %s", key, got, s.Source(key), want[0], want[1])
		}
	}
}

// Two settings that leave nobody who may come are a fault.
func TestKnownAppsNeedDocuments(t *testing.T) {
	t.Parallel()
	_, err := loadText(t, "[oauth]\nregistration = \"known\"\nclient_metadata_documents = false")
	if err == nil || !strings.Contains(err.Error(), `registration = "known" lets in; write true, or registration = "off"`) {
		t.Error(err)
	}
	if _, err := loadText(t, "[oauth]\nregistration = \"known\""); err != nil {
		t.Error(err)
	}
}

// Each fault is reported with what to write instead, all of them at once.
func TestFaults(t *testing.T) {
	t.Parallel()
	const region = "[[region]]\nname = \"local\"\nruntime = \"sandbox\"\n"
	for text, wants := range map[string][]string{
		"public_ur = 1": {"public_ur (", "did you mean public_url?"},
		"code_ttl = \"1m\"\n[oauth]\ncod_ttl = \"1m\"\n[pots]\nx = 1": {"did you mean oauth.code_ttl?", "oauth.cod_ttl (", "pots (", "did you mean"},
		"oauth = 3":                                                 {"write [oauth] and its settings below"},
		"listen = 8080":                                             {"8080 is not text in quotes"},
		"data_dir = [1]":                                            {"data_dir", "not text in quotes"},
		"data_dir = \"\"":                                           {"/var/lib/podgate"},
		"trusted_proxies = [\"10.0.0.1/99\", 7]":                    {"trusted_proxies[0]", "trusted_proxies[1]", "10.0.0.0/8"},
		"trusted_proxies = \"10.0.0.1\"":                            {"not a list"},
		"[oauth]\naccess_token_ttl = 3600":                          {"3600 is not text in quotes"},
		"[oauth]\naccess_token_ttl = \"10 days\"":                   {`"10 days" is not a duration`},
		"[oauth]\naccess_token_ttl = \"-5m\"":                       {"out of range"},
		"[oauth]\ncode_ttl = \"11m\"":                               {`from "10s" to "10m"`},
		"[oauth]\nregistration = \"closed\"":                        {`write "open" or "known" or "off"`},
		"[oauth]\nclient_metadata_documents = \"no\"":               {"no is not true or false"},
		"[oauth]\nrefresh_token_ttl = \"1s\"":                       {`from "1m" to "365d"`, `or "0" for none`},
		"[oauth]\nrefresh_tokens = \"1d\"":                          {"there is no such setting"},
		"[oauth]\nredirect_schemes = [\"Cursor:\"]":                 {"oauth.redirect_schemes[0]", "without the colon"},
		"[oauth]\nredirect_schemes = [\"javascript\"]":              {"cannot be allowed", `"cursor"`},
		"[oauth]\nredirect_schemes = [\"https\"]":                   {"leave it out"},
		"[pods]\nquota_pods = 0":                                    {"at least 1"},
		"[pods]\nquota_pods = 1.5":                                  {"1.5 is not a whole number"},
		"[pods]\nquota_pods = 99999999999999999999":                 {"is not TOML"},
		"[pods]\nquota_memory = \"2GB\"":                            {`"2GB" is not a size`, "256MiB"},
		"[pods]\nquota_memory = \"99999999999TiB\"":                 {"is not a size"},
		region + "limits = \"maybe\"":                               {"region[0].limits", `"auto" or "require" or "off"`},
		"[pods]\ndomain = \"127.0.0.1\"":                            {"not a domain name"},
		"[pods]\ndomain = \"*.example.com\"":                        {"not a domain name"},
		"[pods]\ndefault_region = \"moon\"":                         {`there is no region "moon"`},
		region + "binds = [\"opt\", \"/usr\", \"/home\"]":           {"region[0].binds[0]", "leave it out", "region[0].binds[2]"},
		region + "bind = [\"/opt/a\"]":                              {"region[0].bind", "did you mean region.binds?"},
		"data_dir = \"/data/x\"\n" + region + "binds = [\"/data\"]": {"everybody's data"},
		"region = []":                                               {"region (", "leave the setting out"},
		"[[region]]\nname = \"local\"\nruntime = \"docker\"\n[[region]]\nname = \"local\"\nruntime = \"sandbox\"": {`region[0].runtime`, `region[1].name`, "there twice"},
		"[[region]]\nname = \"local\"\nruntime = \"sandbox\"\n[[region]]\nname = \"two\"\nruntime = \"sandbox\"":  {`region[1].runtime`, "leave this region out"},
		"plan = []":                                 {"plan (", "leave the setting out"},
		"plan = [3]":                                {"plan[0]", "not a table"},
		"[[plan]]\nname = \"Big One\"":              {"plan[0].name", "plan[0].memory", "plan[0].cpus", "plan[0].disk", "plan[0].processes"},
		"[[plan]]\nmemmory = \"1GiB\"":              {"plan[0].memmory", "did you mean plan.memory?"},
		"[[plan]]\nnetwork = \"1KiB/s\"":            {"plan[0].network", "1KiB/s is too little", "64KiB/s"},
		"[[plan]]\nnetwork = \"20Mbit\"":            {"plan[0].network", "20MiB/s"},
		"[[plan]]\ncpus = nan":                      {"NaN is not a number of processors"},
		"[log]\nlevel = \"loud\"\nformat = \"xml\"": {"log.level", "log.format", `"text" or "json"`},
		"[mail]\nhost = \"smtp.example.com\"":       {"mail.from", "podgate <podgate@example.com>"},
		"[mail]\nfrom = \"a@example.com\"":          {"mail.host", "so there is no mail"},
		"[mail]\nhost = \"smtp.example.com:25\"\ntls = \"none\"\nport = 70000": {"mail.host", "into mail.port", "mail.port (", "mail.tls", "in clear"},
		"[mail]\ntls = \"ssl\"":                                                                 {"mail.tls", `"starttls" or "tls" or "none"`},
		"[mail]\nhost = \"localhost\"\nfrom = \"a@b\\nBcc: c@d\"":                               {"mail.from"},
		"[mail]\nusername = \"a\"":                                                              {"mail.username", "belong together", "mail.host"},
		"[mail]\npassword_file = \"secret\"":                                                    {"mail.password_file", "not an absolute path"},
		"[notify]\nevents = [\"pod.died\"]":                                                     {"notify.events[0]", `"pod.failed" or "pod.recovered"`},
		"[notify]\nwebhook_url = \"example.com\"":                                               {"notify.webhook_url", "not a web address"},
		"[notify]\nwebhook_url = \"http://10.0.0.7/x\"":                                         {"in clear", "https://"},
		"[notify]\nwebhook_url = \"https://a:b@c.example/\"":                                    {"leave them out"},
		"[notify]\nwebhook_secret_file = \"/x\"":                                                {"notify.webhook_url", "is empty"},
		"listen = \"8080\"":                                                                     {"not an address with a port"},
		"listen = \"example.com:80\"":                                                           {"not an address of this machine"},
		"listen = \":99999\"":                                                                   {"not a port"},
		"listen = \"192.168.1.5:8080\"":                                                         {`is not where http://localhost:8080 leads`, `write "localhost:8080"`},
		"listen = \"127.0.0.2:8080\"":                                                           {"or set public_url"},
		"public_url = \"pods.example.com\"":                                                     {"not a web address"},
		"public_url = \"ftp://pods.example.com\"":                                               {"neither https:// nor http://"},
		"public_url = \"http://pods.example.com\"":                                              {"in clear", `write "https://pods.example.com"`},
		"public_url = \"http://localhost.evil.com\"":                                            {"in clear"},
		"public_url = \"https://pods.example.com/\"":                                            {`write "https://pods.example.com"`},
		"public_url = \"https://a@pods.example.com\"":                                           {`write "https://pods.example.com"`},
		"public_url = \"https://pods.example.com?x\"":                                           {`write "https://pods.example.com"`},
		"public_url = \"https://pods.example.com#\"":                                            {"more than scheme and host"},
		"public_url = \"https://Pods.Example.com\"":                                             {`write "https://pods.example.com"`},
		"public_url = \"https://pods.example.com:443\"":                                         {`write "https://pods.example.com"`},
		"public_url = \"http://localhost:80\"":                                                  {`write "http://localhost"`},
		"public_url = \"https://pods.example.com:0\"":                                           {"no valid port"},
		"public_url = \"https://pods.example.com:\"":                                            {"no valid port"},
		"public_url = \"https://pods_example\"":                                                 {"no valid host"},
		"public_url = \"https://gate.apps.example.com\"\n[pods]\ndomain = \"apps.example.com\"": {"would be a pod's name"},
		"listen = ":                      {"is not TOML", "line 1"},
		"listen = \"a\"\nlisten = \"b\"": {"is not TOML", "line 2"},
	} {
		_, err := loadText(t, text)
		var faults *Error
		if !errors.As(err, &faults) {
			t.Errorf("%q is accepted", text)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %q is not in\n%v", text, want, err)
			}
		}
	}
}

func TestGoodPublicURLs(t *testing.T) {
	t.Parallel()
	for _, u := range []string{
		"https://pods.example.com", "https://pods.example.com:8443", "http://localhost:8080", "http://localhost",
		"http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]:8080", "https://192.0.2.7", "https://xn--bcher-kva.example",
	} {
		if _, err := loadText(t, "public_url = \""+u+"\""); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// A link does not hide that a folder is that of the data, or around it.
func TestBindLeadsToTheData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, link := filepath.Join(dir, "house", "data"), filepath.Join(dir, "link")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{data, filepath.Dir(data)} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if err := checkBind(link, data); err == nil || !strings.Contains(err.Error(), "everybody's data") {
			t.Errorf("a link to %s: %v", target, err)
		}
		if err := checkBind(data, link); err == nil {
			t.Errorf("%s, and the data folder is a link to it", target)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
}

// A data folder that the first start has yet to make is where its folder leads.
func TestBindLeadsToAbsentData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	house, link := filepath.Join(dir, "house"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(house, 0o700), os.Symlink(house, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{house, filepath.Join(house, "data"), filepath.Join(house, "data", "pods")} {
		if err := checkBind(path, filepath.Join(link, "data")); err == nil || !strings.Contains(err.Error(), "everybody's data") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestGoodListens(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`listen = ":8080"`, `listen = "0.0.0.0:8080"`, `listen = "[::]:8080"`, `listen = "127.0.0.1:0"`, `listen = "[::1]:8080"`, `listen = "[::ffff:127.0.0.1]:8080"`,
		"public_url = \"https://pods.example.com\"\nlisten = \"10.0.0.5:8080\"\n[tls]\nmode = \"off\"",
	} {
		if _, err := loadText(t, text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "absent.toml")
	for _, err := range []error{
		second(Load(file, nil, nil)), second(Load("", Environ{"PODGATE_CONFIG=" + file}, nil)),
	} {
		if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%v", err)
		}
	}
}

func second(_ *Settings, err error) error { return err }

// A mistyped variable is worth a note; one that an orchestrator sets is not.
func TestStrangeVariables(t *testing.T) {
	t.Parallel()
	s, err := Load("", Environ{"PODGATE_LISTN=:1", "PODGATE_PORT=tcp://10.0.0.1:80", "PODGATE_SERVICE_HOST=10.0.0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "PODGATE_LISTN is not a setting; PODGATE_LISTEN is") {
		t.Errorf("%q", s.Warnings)
	}
}

func TestBadVariables(t *testing.T) {
	t.Parallel()
	_, err := Load("", Environ{"PODGATE_PODS_QUOTA_PODS=many", "PODGATE_PLAN=[[", "PODGATE_LOG_LEVEL=loud", "PODGATE_REGION=3"}, nil)
	for _, want := range []string{"pods.quota_pods (PODGATE_PODS_QUOTA_PODS)", "plan (PODGATE_PLAN)", "log.level (PODGATE_LOG_LEVEL)", "region (PODGATE_REGION)"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}

// What «config show» prints has the same effect as what it describes.
func TestRenderReadsBack(t *testing.T) {
	t.Parallel()
	s, err := loadText(t, `public_url = "https://pods.example.com"
trusted_proxies = ["10.0.0.0/8", "::1"]
[[region]]
name = "local"
runtime = "sandbox"
binds = ["/opt/a \"quoted\" folder", "/opt/b"]
[[plan]]
name = "one"
memory = "64MiB"
cpus = 3
disk = "1GiB"
processes = 20
`)
	if err != nil {
		t.Fatal(err)
	}
	readsBack(t, s)
}

func readsBack(t testing.TB, s *Settings) {
	t.Helper()
	text, err := s.Render()
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadText(t, text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := same(s.Config, again.Config); diff != "" {
		t.Errorf("%s\n%s", diff, text)
	}
}

// Every field has a key, so none can be forgotten by the environment, the
// example or «config show».
func TestEveryFieldHasAKey(t *testing.T) {
	t.Parallel()
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for f := range fields(typ) {
			if f.Tag.Get("toml") == "" {
				t.Errorf("%s.%s has no key", typ, f.Name)
			}
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

func TestDurationsAndSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Duration{"30d": 30 * day, "36h": 36 * hour, "10m": 10 * minute, "90s": 90e9, "1h30m": 90 * minute} {
		var d, again Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d != want {
			t.Errorf("%s: %v %v", text, d, err)
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%s is written %s, which reads back as %v, %v", text, d, again, err)
		}
	}
	for text, want := range map[string]Size{"256MiB": 256 << 20, "1GiB": 1 << 30, "1024 MiB": 1 << 30, "3KiB": 3 << 10, "2TiB": 2 << 40} {
		var s, again Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %v %v", text, s, err)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%s is written %s, which reads back as %v, %v", text, s, again, err)
		}
	}
	for text, want := range map[string]Rate{"": 0, "20MiB/s": 20 << 20, "1024 KiB/s": 1 << 20} {
		r, again := Rate(7), Rate(7)
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%s: %v %v", text, r, err)
		}
		if err := again.UnmarshalText([]byte(r.String())); err != nil || again != r {
			t.Errorf("%s is written %s, which reads back as %v, %v", text, r, again, err)
		}
	}
	for _, text := range []string{"20MiB", "20MB/s", "/s", "1GiB/m", "-1KiB/s", " "} {
		if err := new(Rate).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("rate %q is accepted", text)
		}
	}
	for _, text := range []string{"", "d", "1.5d", "-1d", "99999d", "10", "ten"} {
		if err := new(Duration).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("duration %q is accepted", text)
		}
	}
	for _, text := range []string{"", "10", "1.5GiB", "-1GiB", "GiB", "1GB", "1gib", "1048576TiB"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("size %q is accepted", text)
		}
	}
}

// loadDocument is Load without a file system.
func loadDocument(text string) (*Settings, []Fault) {
	l := newLoader()
	l.document("text", text)
	l.explainMoved()
	l.resolve()
	return &l.Settings, append(l.faults, l.Settings.check()...)
}

// Whatever stands in the file: an answer or faults, and an accepted
// configuration can be printed and read again.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add("public_url = \"https://a\"\ntrusted_proxies = [\"1.2.3.4\"]\n[[plan]]\nname=\"x\"")
	f.Add("oauth.code_ttl = \"1m\"\nplan = [{cpus = 1}]\nregion = 1979-05-27")
	f.Add("[pods]\nbinds = [[1]]\nquota_pods = -0x1")
	f.Add("[[region]]\nname = \"a\"\nruntime = \"sandbox\"\nbinds = [\"/opt/a\"]")
	f.Fuzz(func(t *testing.T, text string) {
		s, faults := loadDocument(text)
		if len(faults) > 0 {
			return
		}
		printed, err := s.Render()
		if err != nil {
			t.Fatal(err)
		}
		again, faults := loadDocument(printed)
		if diff := same(s.Config, again.Config); diff != "" || len(faults) > 0 {
			t.Errorf("%v %s\n%s", faults, diff, printed)
		}
	})
}

// Pods at or below the name of local pages could set cookies for them.
func TestPagesHaveTheirNameAlone(t *testing.T) {
	t.Parallel()
	for domain, good := range map[string]bool{
		"podgate.localhost": false, "apps.podgate.localhost": false, "localhost": true, "apps.localhost": true, "mypodgate.localhost": true, "podgate.example.com": true,
	} {
		if _, err := loadText(t, "[pods]\ndomain = \""+domain+"\""); (err == nil) != good || err != nil && !strings.Contains(err.Error(), "has its own pages at podgate.localhost") {
			t.Errorf("pods below %s: %v", domain, err)
		}
	}
}
