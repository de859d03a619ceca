package notify

import (
	"fmt"
	"slices"
	"strings"

	"podgate/internal/mail"
	"podgate/internal/text"
)

const (
	nameLength = 60  // characters of a person's or a team's name in a mail
	maxListed  = 100 // pods in one mail
)

// letter puts everything that waits for one person into one mail.
func (n *Notifier) letter(all []*parcel) mail.Message {
	var subject []string
	var b strings.Builder
	pods := false
	for _, p := range all {
		if p.fact.Event != BackupFailed {
			pods = true
			continue
		}
		if len(subject) == 0 {
			subject = append(subject, "no backup of "+n.host+" could be made")
		}
		fmt.Fprintf(&b, "No backup could be made, %s.\n  %s\n  %s\n\nIt is tried again every hour, and you hear again only after one was made.\n\n", p.fact.Time.Format("2 January 15:04 UTC"), p.fact.Reason, p.fact.URL)
	}
	for _, part := range []struct{ event, one, many, hint string }{
		{Failed, "failed", "failed", "What it printed last, and what can be done, is at its address.\n\n"},
		{Recovered, "runs again", "run again", ""},
	} {
		list := slices.DeleteFunc(slices.Clone(all), func(p *parcel) bool { return p.fact.Event != part.event })
		slices.SortStableFunc(list, func(x, y *parcel) int { return strings.Compare(x.fact.Pod, y.fact.Pod) })
		switch len(list) {
		case 0:
			continue
		case 1:
			subject = append(subject, fmt.Sprintf("%s of %s %s", list[0].fact.Pod, text.Line(list[0].team, nameLength), part.one))
		default:
			subject = append(subject, fmt.Sprintf("%d pods %s", len(list), part.many))
		}
		for _, p := range list[:min(len(list), maxListed)] {
			p.write(&b, part.one)
		}
		if over := len(list) - maxListed; over > 0 {
			fmt.Fprintf(&b, "and %d more\n\n", over)
		}
		b.WriteString(part.hint)
	}
	if !pods {
		fmt.Fprintf(&b, "You read this as an administrator of %s.\n", n.host)
		return mail.Message{To: all[0].to, Subject: strings.Join(subject, ", "), Text: b.String()}
	}
	fmt.Fprintf(&b, "You read this as an owner of the team, on %s. Of the same pod you hear again\nonly after it has run well, or after somebody has started it.\n", n.host)
	return mail.Message{To: all[0].to, Subject: strings.Join(subject, ", "), Text: b.String()}
}

// write is what a mail says of one pod.
func (p *parcel) write(b *strings.Builder, verb string) {
	fmt.Fprintf(b, "%s of the team %s %s, %s.\n", p.fact.Pod, text.Line(p.team, nameLength), verb, p.fact.Time.Format("2 January 15:04 UTC"))
	if p.fact.Reason != "" {
		fmt.Fprintf(b, "  %s\n", p.fact.Reason)
	}
	fmt.Fprintf(b, "  %s\n\n", p.fact.URL)
}

func (n *Notifier) invitation(to, team, inviter, link string) mail.Message {
	team, inviter = text.Line(team, nameLength), text.Line(inviter, 2*nameLength)
	return mail.Message{
		To: to, Subject: fmt.Sprintf("%s invites you to the team %s", inviter, team),
		Text: fmt.Sprintf(`%s invites you to the team %s on %s, where people and
their AI assistants run small apps together.

To join, open this link within 7 days. It works once:

%s

If you do not expect this, there is nothing to do: without the link nothing
happens.
`, inviter, team, n.host, link),
	}
}
