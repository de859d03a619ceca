package main

// plots are those of docs/performance.md.
var plots = []plot{
	{
		name: "refresh", title: "Refreshes, 64 clients at once",
		x: axis{label: "access tokens in the store", log: true}, y: axis{label: "refreshes a second"},
		lines: []line{
			{"podgate", ours, grown("oauth", "Growth/refresh/tokens=*", "refreshes/s")},
			{"bare bbolt", rivals, grown("oauth", "Growth/refresh/tokens=*", "bare/s")},
			{"aim: 0.8 of the first", aim, part(0.8, grown("oauth", "Growth/refresh/tokens=*", "refreshes/s"))},
		},
	},
	{
		name: "check", title: "Check of an access token",
		x: axis{label: "access tokens in the store", log: true}, y: axis{label: "microseconds", log: true, unit: 1e-6},
		lines: []line{
			{"first time", ours, grown("oauth", "Growth/check/tokens=*", "cold-ns/check")},
			{"remembered", oursToo, grown("oauth", "Growth/check/tokens=*", "warm-ns/check")},
			{"bare read", rivals, grown("oauth", "Growth/check/tokens=*", "bare-ns/read")},
		},
	},
	{
		name: "size", title: "Database with its indexes",
		x: axis{label: "access tokens in the store", log: true}, y: axis{label: "MiB", log: true, unit: 1 << 20},
		lines: []line{
			{"podgate", ours, grown("store", "SQLite/size/tokens=*", "podgate-MiB")},
			{"SQLite", rivals, grown("store", "SQLite/size/tokens=*", "sqlite-MiB")},
			{"aim: 1.5 times", aim, times15(grown("store", "SQLite/size/tokens=*", "sqlite-MiB"))},
		},
	},
	{
		name: "refreshed", title: "Database after refreshes, four of each connection",
		x: axis{label: "refreshes", log: true}, y: axis{label: "MiB", log: true, unit: 1 << 20},
		lines: []line{
			{"podgate", ours, grown("store", "SQLite/refreshes=*", "podgate-MiB")},
			{"of it used", oursToo, grown("store", "SQLite/refreshes=*", "podgate-used-MiB")},
			{"SQLite", rivals, grown("store", "SQLite/refreshes=*", "sqlite-MiB")},
			{"aim: 1.5 times", aim, times15(grown("store", "SQLite/refreshes=*", "sqlite-MiB"))},
		},
	},
	{
		name: "memory", title: "Memory of the server",
		x: axis{label: "access tokens in the store", log: true}, y: axis{label: "MiB", unit: 1 << 20},
		lines: []line{
			{"after 5,000 calls", ours, grown("", "ProgramGrowth/tokens=*", "used-MiB")},
			{"idle", oursToo, grown("", "ProgramGrowth/tokens=*", "idle-MiB")},
			{"aim: 150", aim, level(150<<20, grown("", "ProgramGrowth/tokens=*", "used-MiB"))},
		},
	},
	{
		name: "start", title: "From the start of the program to its first answer",
		x: axis{label: "access tokens in the store", log: true}, y: axis{label: "milliseconds", unit: 1e-3},
		lines: []line{
			{"podgate", ours, grown("", "ProgramGrowth/tokens=*", "first-answer-ms")},
			{"podgate version", rivals, grown("", "ProgramGrowth/tokens=*", "version-ms")},
			{"aim: 300", aim, level(0.3, grown("", "ProgramGrowth/tokens=*", "first-answer-ms"))},
		},
	},
	{
		name: "pods", title: "Pods, one in ten of which runs",
		x: axis{label: "pods", log: true}, y: axis{label: "milliseconds of processor time", log: true, unit: 1e-3},
		lines: []line{
			{"list_pods", ours, grown("mcp", "ListGrowth/list/pods=*", "cpu-µs/op")},
			{"front page", oursToo, grown("ui/podpages", "PodGrowth/front/pods=*", "cpu-µs/op")},
			{"round", oursThird, grown("ui/podpages", "PodGrowth/reconcile/pods=*", "cpu-µs/op")},
			{"bare read", rivals, grown("mcp", "ListGrowth/bare/pods=*", "cpu-µs/op")},
		},
	},
	{
		name: "timeline", title: "Timeline of a household",
		x: axis{label: "how long it has been used", names: map[float64]string{0: "not yet", 30: "a month", 365: "a year"}},
		y: axis{label: "microseconds of processor time", unit: 1e-6},
		lines: []line{
			{"to note a refresh", ours, grown("store", "TimelineGrowth/note/days=*", "cpu-µs/op")},
			{"to read a page", oursToo, grown("store", "TimelineGrowth/page/days=*", "cpu-µs/op")},
			{"a bare note", rivals, beside(of("store", "TimelineGrowth/bare/note", "cpu-µs/op"), grown("store", "TimelineGrowth/note/days=*", "cpu-µs/op"))},
			{"a bare page", rivalsToo, beside(of("store", "TimelineGrowth/bare/page", "cpu-µs/op"), grown("store", "TimelineGrowth/note/days=*", "cpu-µs/op"))},
		},
	},
	{
		name: "ingress", title: "Requests to an app, answers of 200 bytes",
		x: axis{label: "clients", log: true}, y: axis{label: "requests a second"},
		lines: []line{
			{"podgate", ours, grown("", "Ingress/*-clients-200-bytes", "podgate/s")},
			{"Caddy", rivals, grown("", "Ingress/*-clients-200-bytes", "caddy/s")},
		},
	},
}

// grown is the line of a benchmark whose name has a star where its size stands.
func grown(pkg, name, unit string) func(*run) []point {
	return func(r *run) []point { return r.across(figureID(pkg, name, unit)) }
}

// level has one height wherever another line has a point, part such a part of that line's
// first point, and beside that of another figure.
func level(height float64, where func(*run) []point) func(*run) []point {
	return beside(func(*run) float64 { return height }, where)
}

func beside(height quantity, where func(*run) []point) func(*run) []point {
	return func(r *run) []point {
		list := where(r)
		for i := range list {
			list[i].y = height(r)
		}
		return list
	}
}

func part(of float64, line func(*run) []point) func(*run) []point {
	return func(r *run) []point {
		list := line(r)
		for i := range list {
			if i > 0 {
				list[i].y = list[0].y
			}
		}
		return multiplied(of, list)
	}
}

func times15(line func(*run) []point) func(*run) []point {
	return func(r *run) []point { return multiplied(1.5, line(r)) }
}

func multiplied(by float64, list []point) []point {
	for i := range list {
		list[i].y *= by
	}
	return list
}
