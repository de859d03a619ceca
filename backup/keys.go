package backup

import (
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
)

// Recipient is a public key of age, and Identity the secret one that belongs to it.
type (
	Recipient = age.Recipient
	Identity  = age.Identity
)

// Encrypt calls write with what encrypts to w, for recipients alone. Without any it
// is w itself.
func Encrypt(w io.Writer, recipients []Recipient, write func(io.Writer) error) error {
	if len(recipients) == 0 {
		return write(w)
	}
	sealed, err := age.Encrypt(w, recipients...)
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	if err := write(sealed); err != nil {
		return err // unsealed, so nobody takes it for complete
	}
	return sealed.Close()
}

// Recipients reads those who may open a backup: public keys of age, and files with
// one a line.
func Recipients(keys, files []string) ([]Recipient, error) {
	var all []Recipient
	for _, key := range keys {
		list, err := age.ParseRecipients(strings.NewReader(key))
		if err != nil {
			return nil, fmt.Errorf("%q is no public key of age; write one that begins with age1", key)
		}
		all = append(all, list...)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		list, err := age.ParseRecipients(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s holds no public keys of age, one a line: %w", file, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// Identities reads the secret keys in files.
func Identities(files []string) ([]Identity, error) {
	var all []Identity
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		list, err := age.ParseIdentities(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s holds no secret key of age: %w", file, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// NewKey makes a key, writes its secret part to w as age keeps it, and returns the
// public one.
func NewKey(w io.Writer) (recipient string, err error) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	recipient = key.Recipient().String()
	_, err = fmt.Fprintf(w, "# public key: %s\n%s\n", recipient, key)
	return recipient, err
}
