package config

import "testing"

func TestGoodMail(t *testing.T) {
	t.Parallel()
	for text, port := range map[string]int{
		"[mail]\nhost = \"smtp.example.com\"\nfrom = \"podgate <podgate@example.com>\"":                                                                     587,
		"[mail]\nhost = \"smtp.example.com\"\ntls = \"tls\"\nfrom = \"a@example.com\"\nusername = \"a\"\npassword_file = \"/etc/podgate/mail\"":             465,
		"[mail]\nhost = \"localhost\"\ntls = \"none\"\nfrom = \"a@example.com\"\n[notify]\nwebhook_url = \"http://127.0.0.1:9000/x\"":                       25,
		"[mail]\nhost = \"::1\"\nport = 2525\ntls = \"none\"\nfrom = \"a@example.com\"\n[notify]\nwebhook_url = \"https://10.0.0.7/hook?x=y\"\nevents = []": 2525,
	} {
		s, err := loadText(t, text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if !s.Mail.On() || s.Mail.EffectivePort() != port {
			t.Errorf("%q: %+v", text, s.Mail)
		}
	}
	if Default().Mail.On() {
		t.Error("there is mail without a server for it")
	}
}
