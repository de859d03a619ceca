package main

import (
	"time"

	"podgate/internal/config"
	"podgate/internal/mail"
)

// mailer makes what sends mail; nil when the settings name no server for it.
func mailer(s *config.Settings) (*mail.Sender, error) {
	if !s.Mail.On() {
		return nil, nil
	}
	password, err := config.SecretFile(s.Mail.PasswordFile)
	if err != nil {
		return nil, err
	}
	return mail.New(mail.Config{
		Host: s.Mail.Host, Port: s.Mail.EffectivePort(), Security: mail.Security(s.Mail.TLS),
		Username: s.Mail.Username, Password: password, From: s.Mail.From, Own: s.MailHost(), Now: time.Now,
	})
}
