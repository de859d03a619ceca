package teampages

import (
	"strings"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/store"
)

func roleOf(r store.Role) roleView { return roleView{r, authz.RoleWords(r)} }

// invalid is an error of a form that only the pages know of.
func invalid(field, message string) error {
	return &account.Error{Message: message, Field: field, Err: account.ErrInvalid}
}

// sentence makes one of an error of the pods service.
func sentence(words string) string {
	words = text.Line(words, 400)
	if words == "" {
		return words
	}
	return strings.ToUpper(words[:1]) + strings.TrimSuffix(words[1:], ".") + "."
}
