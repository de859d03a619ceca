package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const aimed = "what | figure | beside it | ratio | aim | "

// tables are those of docs/performance.md.
var tables = []table{
	{"run", "commit | date | processor | cores | kernel | Go", facts},
	{"requests", aimed, fixed(requests)},
	{"starts", aimed, fixed(starts)},
	{"copies", aimed, fixed(copies)},
	{"calls", "clients | podgate | the SDK | ratio | aim | ", calls},
	{"ingress", "clients | answer | podgate | Caddy | neither | ratio | aim | ", ingress},
	{"egress", aimed, fixed(egress)},
	{"idle", "pods | agent | gateway | together | aim | | a command in one of them", idle},
	{"pages", aimed, fixed(pages)},
	{"lists", "pods | running | stopped | rate | aim | ", lists},
	{"running", "pods that run | `list_pods` | of the rate of none | aim | | of that of the bare answer", running},
	{"handshakes", aimed, fixed(handshakes)},
	{"sweep", aimed, fixed(sweep)},
	{"refresh", "tokens | refreshes | bare bbolt | of that | aim | | p99", growingRefreshes},
	{"check", "tokens | remembered | first time | bare read | times that | of 1,000 tokens | aim | ", growingChecks},
	{"size", "tokens | podgate | SQLite | times that | aim | ", growingSizes},
	{"refreshed", "refreshes | file | of it used | SQLite | times that | aim | | 64 clients | one | SQLite, one", refreshed},
	{"memory", "tokens | idle | anonymous | after calls | anonymous | aim | | first answer | `version` | aim | ", growingProgram},
	{"pods", "pods | `list_pods` | bare read | front page | size | round", growingPods},
	{"timeline", "used for | to note a refresh | to read a page", timeline},
}

// facts is what the run says about itself.
func facts(r *run) [][]cell {
	var row []cell
	for _, key := range []string{"commit", "date", "cpu", "cores", "kernel", "go"} {
		row = append(row, words(strings.Join(r.facts[key], ", ")))
	}
	return [][]cell{row}
}

func fixed(rows [][]cell) func(*run) [][]cell { return func(*run) [][]cell { return rows } }

// against is a row of a time, or of whatever a and b are, with the ratio that its aim is
// about.
func against(what string, a, b cell, ratio quantity, l limit) []cell {
	return row(judged(ratio, l), words(what), a, b, times(ratio))
}

// alone is a row of a figure with an aim of its own.
func alone(what string, figure cell, q quantity, l limit) []cell {
	return row(judged(q, l), words(what), figure, words(""), words(""))
}

var (
	bearer     = of("oauth", "Bearer/bearer_check", "ns/op")
	written    = of("oauth", "Bearer/bearer_check,_a_write_every_ten", "ns/op")
	bareRead   = of("oauth", "Bearer/bare_bbolt_read", "ns/op")
	redeem     = of("oauth", "Redeem/redeem", "ns/op")
	bareRecord = of("oauth", "Redeem/bare_bbolt_batch", "ns/op")
	execIn     = of("", "Exec/podgate", "ns/op")
	execBare   = of("", "Exec/bare", "ns/op")

	requests = [][]cell{
		against("check of an access token, `BenchmarkBearer`", took(bearer), with("a bare bbolt read %s", took(bareRead)), over(bearer, bareRead), atMost(3)),
		against("the same, with a connection of somebody else made every ten", took(written), with("the same %s", took(bareRead)), over(written, bareRead), atMost(3)),
		against("codes redeemed by many at once, `BenchmarkRedeem`", took(redeem), with("a bare bbolt Batch of one record %s", took(bareRecord)), over(bareRecord, redeem), atLeast(0.6)),
		row(judged(execIn, within(10e-3, "10 ms")), words("`exec_command`, `BenchmarkExec`"), took(execIn), with("`/bin/sh` from this process %s", took(execBare)), times(over(execIn, execBare))),
	}
)

var (
	podStart  = of("pods/sandbox", "Start", "ns/op")
	pageStart = of("", "StartPod", "pod-ms")
	create    = of("", "CreatePod", "pod-ms")
	bwrapped  = of("", "CreatePod", "times-bwrap")
	deploy    = of("", "Deploy", "ns/op")
	first     = of("", "Program/first_answer", "ns/op")
	version   = of("", "Program/bare_start", "ns/op")
	resident  = of("", "Program/idle_memory", "MiB-resident")
	file      = of("", "Program/first_answer", "MiB-file")
	silent    = of("", "Upgrade/take_over", "longest-ms")
	again     = of("", "Upgrade/start", "ns/op")

	starts = [][]cell{
		alone("a pod from the call to the agent's first answer, `BenchmarkStart`", with("%s, %s of processor time with the stop", took(podStart), took(of("pods/sandbox", "Start", "cpu-ms/op"))), podStart, within(25e-3, "25 ms")),
		alone("a pod from `create_pod` to its page at its own address, `BenchmarkCreatePod`", took(create), create, within(25e-3, "25 ms")),
		row(judged(bwrapped, atMost(2.5)), words("the same"), words(""), with("`true` in bubblewrap %s", took(of("", "CreatePod", "bwrap-ms"))), times(bwrapped)),
		alone("a stopped pod from `manage_pod` to its page at its own address, `BenchmarkStartPod`", took(pageStart), pageStart, within(40e-3, "40 ms")),
		row(judged(deploy, within(2, "2 s")), words("a deploy of 1,000 files to the first page, `BenchmarkDeploy`"), took(deploy), with("to write such files %s", took(of("", "Deploy", "files-ms/op"))), words("")),
		row(judged(first, within(0.1, "100 ms")), words("the program from its start to its first answer, `BenchmarkProgram`"),
			with("%s, %s of processor time with the stop", took(first), took(of("", "Program/first_answer", "cpu-ms/op"))), with("`podgate version` %s", took(version)), words("")),
		row(unjudged(), words("an upgrade, for the visitor who waits longest, `BenchmarkUpgrade`"), took(silent), with("a start of the same file %s", took(again)), times(over(silent, again))),
		alone("what it keeps in memory when idle", size(resident), resident, within(40<<20, "40 MiB")),
		alone("its size", size(file), file, within(30<<20, "30 MiB")),
	}
)

var (
	npm     = of("pods/sandbox", "NPM", "ns/op")
	npmHost = of("pods/sandbox", "NPM", "host-ms/op")
	whole   = of("backup", "Backup/podgate", "ns/op")
	tar     = of("backup", "Backup/tar-zstd", "ns/op")
	kept    = of("backup", "Backup/kept-unchanged", "ns/op")
	kept1st = of("backup", "Backup/kept-first", "ns/op")

	copies = [][]cell{
		against("`npm ci` of 1,000 packages in a pod, `BenchmarkNPM`", took(npm), with("the same without a pod %s", took(npmHost)), over(npm, npmHost), atMost(1.3)),
		against("a backup of 10,000 files of 1 GiB together, half of which does not compress, `BenchmarkBackup`", took(whole), with("tar and zstd %s", took(tar)), over(tar, whole), atLeast(0.5)),
		against("the daily backup of the same files when none has changed", took(kept), with("the first one %s", took(kept1st)), over(kept, kept1st), atMost(0.1)),
	}
)

func calls(r *run) (rows [][]cell) {
	for _, n := range []int{1, 16, 64} {
		of := func(unit string) quantity { return of("", fmt.Sprintf("ListPods/%d-clients", n), unit) }
		rows = append(rows, row(judged(of("ratio"), atLeast(1.2)), words(fmt.Sprint(n)), per(of("podgate/s")), per(of("sdk/s")), times(of("ratio"))))
	}
	return rows
}

func ingress(r *run) (rows [][]cell) {
	for _, load := range []struct {
		clients, bytes int
		answer         string
		aim            float64
	}{{1, 200, "200 B", 0}, {8, 200, "200 B", 1}, {16, 200, "200 B", 1}, {64, 200, "200 B", 1}, {8, 1 << 20, "1 MiB", 0.9}} {
		of := func(unit string) quantity {
			return of("", fmt.Sprintf("Ingress/%d-clients-%d-bytes", load.clients, load.bytes), unit)
		}
		verdict := unjudged()
		if load.aim > 0 {
			verdict = judged(of("ratio"), atLeast(load.aim))
		}
		rows = append(rows, row(verdict, words(fmt.Sprint(load.clients)), words(load.answer), per(of("podgate/s")), per(of("caddy/s")), per(of("bare/s")), times(of("ratio"))))
	}
	return rows
}

var (
	stream     = of("pods/sandbox", "Egress/stream/pod", "ns/op")
	streamBare = of("pods/sandbox", "Egress/stream/bare", "ns/op")
	reach      = of("pods/sandbox", "Egress/connections", "address-median-µs")
	reachBare  = of("pods/sandbox", "Egress/connections", "bare-median-µs")
	reachMore  = func(r *run) float64 { return reach(r) - reachBare(r) }

	egress = [][]cell{
		against("64 MiB into a pod", took(stream), with("into a program beside it %s", took(streamBare)), over(streamBare, stream), atLeast(0.4)),
		row(judged(reachMore, within(0.3e-3, "0.3 ms more")), words("a connection"), took(reach),
			with("without a pod %s, a message through as many processes that do nothing %s", took(reachBare), took(of("pods/sandbox", "Egress/connections", "floor-median-µs"))), words("")),
	}
)

func idle(r *run) (rows [][]cell) {
	for _, n := range []int{1, 20} {
		of := func(unit string) quantity { return of("pods/sandbox", fmt.Sprintf("Idle/%d", n), unit) }
		sum, verdict := plus(of("agent-MB"), of("gateway-MB")), unjudged() // of what one has for itself
		if n > 1 {
			verdict = judged(sum, within(10<<20, "10 MiB"))
		}
		rows = append(rows, append(row(verdict, words(fmt.Sprint(n)), size(of("agent-MB")), size(of("gateway-MB")), size(sum)), took(of("ns/op"))))
	}
	return rows
}

var (
	front   = func(name string) quantity { return of("ui/podpages", "Front/"+name, "cpu-ms/op") }
	viewers = of("ui/podpages", "Viewers", "%-of-a-core")

	pages = [][]cell{
		frontRow("front page, pods that are stopped, `BenchmarkFront`", "stopped"),
		frontRow("the same, pods that run", "running"),
		frontRow("the same, each three seconds after the last", "asked"),
		alone("200 tabs for ten seconds, `BenchmarkViewers`", with("%s of a core", percent(viewers)), viewers, within(5, "5 %")),
	}
)

func frontRow(what, name string) []cell {
	bare := of("ui/podpages", "Front/bare", "ns/op")
	return row(judged(front(name), within(20e-3, "20 ms")), words(what), with("%s, %s", took(front(name)), size(of("ui/podpages", "Front/"+name, "KiB"))), with("600 records in one bare read %s", took(bare)), words(""))
}

func lists(r *run) (rows [][]cell) {
	for _, n := range []int{1, 10, 50, 300} {
		of := func(kind string) quantity { return of("pods", fmt.Sprintf("List/%s/%d", kind, n), "cpu-µs/op") }
		rate := over(of("stopped"), of("running"))
		rows = append(rows, row(judged(rate, atLeast(0.9)), words(fmt.Sprint(n)), took(of("running")), took(of("stopped")), times(rate)))
	}
	return rows
}

func running(r *run) (rows [][]cell) {
	for _, n := range []int{1, 10, 50} {
		of := func(unit string) quantity { return of("", fmt.Sprintf("ListPodsRunning/running/%d", n), unit) }
		rows = append(rows, append(row(judged(of("rate-of-none"), atLeast(0.9)), words(fmt.Sprint(n)), per(of("podgate/s")), times(of("rate-of-none"))), times(of("floor-ratio"))))
	}
	return rows
}

var handshakes = [][]cell{
	handshakeRow("a handshake for podgate's own name, `BenchmarkHandshake`", "own_name"),
	handshakeRow("for a pod's name", "pod"),
}

func handshakeRow(what, name string) []cell {
	ratio := of("certs", "Handshake/"+name, "times-net/http")
	return row(unjudged(), words(what), took(of("certs", "Handshake/"+name, "µs/handshake")), words("net/http with a certificate that never changes"), times(ratio))
}

var (
	sweeping = func(unit string) quantity { return of("store", "Sweep/refreshing", unit) }

	sweep = [][]cell{
		against("refreshes while what expired is swept, `BenchmarkSweep`", per(sweeping("refreshes/s-swept")), with("without the sweep %s", per(sweeping("refreshes/s"))), sweeping("rate-ratio"), atLeast(0.8)),
		against("p99 of these", took(sweeping("p99-ms-swept")), with("without the sweep %s", took(sweeping("p99-ms"))), sweeping("p99-ratio"), atMost(1.5)),
		row(unjudged(), words("entries swept meanwhile"), per(sweeping("entries/s")), with("while nobody writes %s", per(of("store", "Sweep/alone", "entries/s"))), words("")),
	}
)

// bySize makes a row for each size that the run has of a benchmark.
func bySize(r *run, pkg, name, unit string, row func(size float64, of func(unit string) quantity) []cell) (rows [][]cell) {
	for _, at := range r.across(figureID(pkg, name, unit)) {
		rows = append(rows, row(at.x, func(unit string) quantity { return sized(pkg, name, unit, at.x) }))
	}
	return rows
}

// sized is a figure of a benchmark at a size.
func sized(pkg, name, unit string, size float64) quantity {
	return func(r *run) float64 {
		for _, at := range r.across(figureID(pkg, name, unit)) {
			if at.x == size {
				return at.y
			}
		}
		return of(pkg, fmt.Sprintf("%s at %v", name, size), unit)(r) // is lacking
	}
}

func growingRefreshes(r *run) [][]cell {
	const name = "Growth/refresh/tokens=*"
	return bySize(r, "oauth", name, "refreshes/s", func(n float64, of func(string) quantity) []cell {
		rate, verdict := of("refreshes/s"), judged(of("ratio"), limit{false, 0.9, "≥ 0.9 of bbolt"})
		if n > 1000 {
			verdict = judged(over(rate, sized("oauth", name, "refreshes/s", 1000)), limit{false, 0.8, "≥ 0.8 of the first"})
		}
		return append(row(verdict, words(thousands(n)), per(rate), per(of("bare/s")), times(of("ratio"))), took(of("p99-ms")))
	})
}

func growingChecks(r *run) [][]cell {
	const name = "Growth/check/tokens=*"
	return bySize(r, "oauth", name, "cold-ns/check", func(n float64, of func(string) quantity) []cell {
		growth := over(of("cold-ns/check"), sized("oauth", name, "cold-ns/check", 1000))
		return row(judged(growth, atMost(1.5)), words(thousands(n)), took(of("warm-ns/check")), took(of("cold-ns/check")), took(of("bare-ns/read")), times(of("cold-by-bare")), times(growth))
	})
}

func growingSizes(r *run) [][]cell {
	return bySize(r, "store", "SQLite/size/tokens=*", "podgate-MiB", func(n float64, of func(string) quantity) []cell {
		return row(judged(of("size-ratio"), atMost(1.5)), words(thousands(n)), size(of("podgate-MiB")), size(of("sqlite-MiB")), times(of("size-ratio")))
	})
}

func refreshed(r *run) [][]cell {
	return bySize(r, "store", "SQLite/refreshes=*", "podgate-MiB", func(n float64, of func(string) quantity) []cell {
		return append(row(judged(of("size-ratio"), atMost(1.5)), words(thousands(n)), size(of("podgate-MiB")), size(of("podgate-used-MiB")), size(of("sqlite-MiB")), times(of("size-ratio"))),
			per(of("podgate/s")), per(of("podgate-alone/s")), per(of("sqlite/s")))
	})
}

func growingProgram(r *run) [][]cell {
	return bySize(r, "", "ProgramGrowth/tokens=*", "idle-MiB", func(n float64, of func(string) quantity) []cell {
		memory := append([]cell{words(thousands(n)), size(of("idle-MiB")), size(of("idle-anonymous-MiB")), size(of("used-MiB")), size(of("used-anonymous-MiB"))}, judged(of("used-MiB"), within(150<<20, "150 MiB"))...)
		return append(append(memory, took(of("first-answer-ms")), took(of("version-ms"))), judged(of("first-answer-ms"), within(0.3, "0.3 s"))...)
	})
}

func growingPods(r *run) [][]cell {
	return bySize(r, "mcp", "ListGrowth/list/pods=*", "cpu-µs/op", func(n float64, _ func(string) quantity) []cell {
		cpu := func(pkg, name string) quantity { return sized(pkg, name+"/pods=*", "cpu-µs/op", n) }
		return []cell{
			words(thousands(n)), took(cpu("mcp", "ListGrowth/list")), took(cpu("mcp", "ListGrowth/bare")), took(cpu("ui/podpages", "PodGrowth/front")),
			size(sized("ui/podpages", "PodGrowth/front/pods=*", "KiB", n)), took(cpu("ui/podpages", "PodGrowth/reconcile")),
		}
	})
}

func timeline(r *run) [][]cell {
	cpu := func(name string) quantity { return of("store", "TimelineGrowth/"+name, "cpu-µs/op") }
	names := map[int]string{0: "not yet", 30: "a month", 365: "a year"}
	var rows [][]cell
	for _, days := range slices.Sorted(maps.Keys(names)) {
		rows = append(rows, []cell{words(names[days]), took(cpu(fmt.Sprintf("note/days=%d", days))), took(cpu(fmt.Sprintf("page/days=%d", days)))})
	}
	return append(rows, []cell{words("a bare commit, a bare read"), took(cpu("bare/note")), took(cpu("bare/page"))})
}
