package account

import (
	"strings"

	"podgate/store"
)

// minPrefix is the least of a connection's id that names it: 40 bits.
const minPrefix = 8

// PersonConnection is a connection and whose it is.
type PersonConnection struct {
	User store.User
	Connection
}

// AllConnections returns everybody's live connections, by person. It is for the
// owner of the server.
func (s *Service) AllConnections() ([]PersonConnection, error) {
	users, err := s.Users()
	if err != nil {
		return nil, err
	}
	var all []PersonConnection
	for _, u := range users {
		list, err := s.Connections(u.ID)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			all = append(all, PersonConnection{u, c})
		}
	}
	return all, nil
}

// FindConnection returns the live connection, whosever it is, whose id begins
// with prefix. ErrInvalid when prefix is too short or begins several,
// store.ErrNotFound when it begins none. It is for the owner of the server.
func (s *Service) FindConnection(prefix string) (PersonConnection, error) {
	if len(prefix) < minPrefix {
		return PersonConnection{}, invalid("id", "The id of a connection has %d characters or more; «podgate connections» lists them.", minPrefix)
	}
	all, err := s.AllConnections()
	if err != nil {
		return PersonConnection{}, err
	}
	var found []PersonConnection
	for _, c := range all {
		if strings.HasPrefix(string(c.ID), prefix) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return PersonConnection{}, explain(store.ErrNotFound, store.ErrNotFound, "id", "No live connection has an id that begins with %s; «podgate connections» lists them.", prefix)
	}
	return PersonConnection{}, invalid("id", "%d connections have an id that begins with %s; write more of it.", len(found), prefix)
}
