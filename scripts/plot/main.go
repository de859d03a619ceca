// Command plot puts the figures of a run of benchmarks into the documentation: it draws
// plots of them, and makes docs/performance.md, with tables of them, of performance.md
// beside this file.
//
//	mkdir -p docs/plots
//	scripts/measure >docs/plots/run.txt
//	go run ./scripts/plot docs/plots/run.txt
//
// What is drawn, and what the tables show, stands in plots.go and tables.go. The same run
// gives the same bytes.
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := command(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// text is that of docs/performance.md, with a place for each table.
//
//go:embed performance.md
var text string

// command reads the run from the file that is named, or from in. It says to out what it
// wrote, and what the tables lack.
func command(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("plot", flag.ContinueOnError)
	flags.SetOutput(out)
	dir := flags.String("out", "docs/plots", "the `folder` for the plots")
	page := flags.String("page", "docs/performance.md", "the `document` to write")
	only := flags.Bool("table", false, "print the tables and write nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 1 {
		return errors.New("name one file, or none to read from standard input")
	}
	if flags.NArg() == 1 {
		file, err := os.Open(flags.Arg(0))
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	r, err := parseRun(in)
	if err != nil {
		return err
	}
	if *only {
		for _, t := range tables {
			fmt.Fprintf(out, "%s:\n\n%s\n", t.name, t.markdown(r))
		}
		return nil
	}
	filled, err := fill(text, tables, r)
	if err != nil {
		return err
	}
	pictures := map[string][]byte{}
	for _, p := range plots {
		if pictures[p.name], err = p.draw(r); err != nil {
			return errors.Join(err, lackingFault(r))
		}
	}
	for _, p := range plots {
		if err := os.WriteFile(filepath.Join(*dir, p.name+".svg"), pictures[p.name], 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(*page, []byte(filled), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d plots and %d tables\n", len(plots), len(tables))
	return lackingFault(r)
}

// lackingFault says what a run should have had.
func lackingFault(r *run) error {
	var faults []error
	for _, what := range r.lacking() {
		faults = append(faults, errors.New("not in the run: "+what))
	}
	return errors.Join(faults...)
}
