package main

import (
	"context"
	"time"

	"podgate/internal/config"
	"podgate/internal/mail"
	"podgate/internal/notify"
	"podgate/pods"
)

// gatherMail is how long word of a failure waits for more of the same moment.
const gatherMail = 5 * time.Second

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

// openNotify makes what tells people, as far as there is a way to them.
func (srv *server) openNotify(context.Context) error {
	s := srv.settings
	cfg := notify.Config{DB: srv.db, Issuer: srv.issuer.String(), Events: s.Notify.Events, Gather: gatherMail, Log: srv.log, Now: time.Now}
	sender, err := mailer(s)
	if err != nil {
		return err
	}
	if sender != nil {
		cfg.Mail = sender.Send
	}
	secret, err := config.SecretFile(s.Notify.WebhookSecretFile)
	if err != nil {
		return err
	}
	if s.Notify.WebhookURL != "" {
		cfg.Webhook = notify.NewWebhook(s.Notify.WebhookURL, secret)
	}
	srv.notify = notify.New(cfg)
	srv.background(srv.notify.Run)
	return nil
}

// alarm is who hears of failed pods; nil when nobody would be told.
func (srv *server) alarm() pods.Alarm {
	if srv.notify == nil || !srv.notify.Tells() {
		return nil
	}
	return srv.notify
}
