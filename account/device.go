package account

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"podgate/store"
)

// DeviceTTL is how long a browser is remembered after a sign-in.
const DeviceTTL = 180 * 24 * time.Hour

const devicePrefix = "pgd_"

// Device returns what a browser keeps in which the user has just proved who they
// are: by it [Service.SignIn] knows the browser again, and a flood of strangers'
// guesses does not keep its owner out (OWASP, «Slow Down Online Guessing Attacks
// with Device Cookies»). It opens nothing, and holds for this account alone until
// DeviceTTL is over or the password is changed. store.ErrNotFound when the user is
// gone.
func (s *Service) Device(user store.UserID) (string, error) {
	u, err := s.db.User(user)
	if err != nil {
		return "", err
	}
	id, issued := store.NewID(), strconv.FormatInt(s.now().Unix(), 10)
	return devicePrefix + strings.Join([]string{id, issued, deviceMAC(u, id, issued)}, "."), nil
}

// deviceMAC signs a device. The key is the stored hash of the password, salt
// included, which nobody but the server knows: so there is no other secret to
// keep, and a new password makes all devices of the account void.
func deviceMAC(u store.User, id, issued string) string {
	mac := hmac.New(sha256.New, []byte(u.Password))
	mac.Write([]byte(strings.Join([]string{"device", string(u.ID), id, issued}, "\x00")))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// knownDevice returns the device that value is for the user, or "" when it is
// none. It does the same work for every user, also for the zero User, so that its
// time does not tell who has an account.
func knownDevice(u store.User, value string, now time.Time) string {
	parts := strings.Split(strings.TrimPrefix(value, devicePrefix), ".")
	if len(parts) != 3 {
		return ""
	}
	id, issued, mac := parts[0], parts[1], parts[2]
	signed := hmac.Equal([]byte(mac), []byte(deviceMAC(u, id, issued)))
	at, err := strconv.ParseInt(issued, 10, 64)
	if !signed || err != nil || u.Password == "" || !now.Before(time.Unix(at, 0).Add(DeviceTTL)) {
		return ""
	}
	return id
}
