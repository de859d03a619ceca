package pods

import (
	"errors"

	"podgate/internal/authz"
	"podgate/store"
)

// errDenied words what an actor may not do because of the limits of its
// connection; other errors come back as they are. A pod outside the limits is
// absent, except for who wants to make it.
func errDenied(a authz.Actor, err error) error {
	var denied *authz.Denied
	if !errors.As(err, &denied) {
		return err
	}
	switch {
	case denied.Limit == authz.LimitPods:
		return refuse(ErrLimited, "the number of its pods is limited to %d; delete one first, or ask the person who connected you to change that on podgate's page of connections", a.Bounds().MaxPods)
	case denied.Limit == authz.LimitPrefix && denied.Action == authz.CreatePod:
		return refuse(ErrLimited, "it may only work with pods whose name begins with %s; choose such a name", a.Bounds().Prefix)
	case denied.Limit == authz.LimitPrefix:
		return errAbsent
	}
	return err
}

// oneMore checks, inside the transaction that creates a pod, how many pods
// there may be for a connection. Pods being deleted no longer count.
func oneMore(a authz.Actor, have []store.Pod) error {
	var names []string
	for _, p := range have {
		if p.Want != store.WantGone {
			names = append(names, p.Name)
		}
	}
	return errDenied(a, a.AllowOneMore(names))
}
