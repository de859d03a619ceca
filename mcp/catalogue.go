package mcp

import (
	"context"
	"fmt"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
)

type noInput struct{}

type presetOutput struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Port        int    `json:"port" jsonschema:"what PORT is in such a pod"`
	Available   bool   `json:"available"`
	Reason      string `json:"reason,omitempty" jsonschema:"why it is not available here and what to install"`

	Regions []presetRegionOutput `json:"regions,omitempty" jsonschema:"whether it is available in each region, where there are several"`
}

type presetRegionOutput struct {
	Region    string `json:"region"`
	Available bool   `json:"available"`
	Reason    string `json:"reason,omitempty"`
}

type presetsOutput struct {
	Presets []presetOutput `json:"presets"`
}

type planOutput struct {
	Name      string  `json:"name"`
	Memory    int64   `json:"memory_bytes"`
	CPUs      float64 `json:"cpus"`
	Disk      int64   `json:"disk_bytes"`
	Processes int     `json:"processes"`
	Network   int64   `json:"network_bytes_per_second,omitempty" jsonschema:"how much a pod may send and receive a second, both together; absent: no limit"`
	Default   bool    `json:"default"`
}

type plansOutput struct {
	Plans []planOutput `json:"plans"`
}

type regionOutput struct {
	Name      string `json:"name"`
	Kind      string `json:"kind" jsonschema:"what runs the pods there"`
	Available bool   `json:"available"`
	Reason    string `json:"reason,omitempty" jsonschema:"why pods cannot run there and how the server's owner can mend it"`
	Default   bool   `json:"default"`
}

type regionsOutput struct {
	Regions []regionOutput `json:"regions"`
}

func (e *endpoint) addCatalogueTools(s *sdk.Server) {
	add(e, s, tool{
		name: "list_presets", title: "List presets", action: authz.SeeCatalogue, hints: readOnly,
		description: "Lists the kinds of pod that create_pod can make here. One that is not available says why.",
	}, e.listPresets)
	add(e, s, tool{
		name: "list_plans", title: "List plans", action: authz.SeeCatalogue, hints: readOnly,
		description: "Lists the sizes that a pod can have: memory, CPU, disk and processes.",
	}, e.listPlans)
	add(e, s, tool{
		name: "list_regions", title: "List regions", action: authz.SeeCatalogue, hints: readOnly,
		description: "Lists the places where pods can run. Most servers have one.",
	}, e.listRegions)
}

func (e *endpoint) listPresets(_ context.Context, r request, _ noInput) (answer[presetsOutput], error) {
	list, err := e.cfg.Pods.Presets(r.actor)
	if err != nil {
		return answer[presetsOutput]{}, err
	}
	out := presetsOutput{Presets: make([]presetOutput, 0, len(list))}
	var b strings.Builder
	for _, p := range list {
		o := presetOutput{Name: p.Name, Description: p.Description, Port: p.Port, Available: p.Available, Reason: p.Reason}
		fmt.Fprintf(&b, "- %s (PORT %d): %s", p.Name, p.Port, p.Description)
		if !p.Available {
			fmt.Fprintf(&b, " Not available here: %s", p.Reason)
		}
		for _, here := range p.Regions {
			o.Regions = append(o.Regions, presetRegionOutput{here.Region, here.Reason == "", here.Reason})
			if p.Available && here.Reason != "" {
				fmt.Fprintf(&b, " Not available in %s: %s.", here.Region, here.Reason)
			}
		}
		out.Presets = append(out.Presets, o)
		b.WriteByte('\n')
	}
	return answer[presetsOutput]{text: b.String(), data: out}, nil
}

func (e *endpoint) listPlans(_ context.Context, r request, _ noInput) (answer[plansOutput], error) {
	list, err := e.cfg.Pods.Plans(r.actor)
	if err != nil {
		return answer[plansOutput]{}, err
	}
	out := plansOutput{Plans: make([]planOutput, 0, len(list))}
	var b strings.Builder
	for i, p := range list {
		l := p.Limits
		out.Plans = append(out.Plans, planOutput{Name: p.Name, Memory: l.Memory, CPUs: l.CPUs, Disk: l.Disk, Processes: l.Processes, Network: l.Network, Default: i == 0})
		fmt.Fprintf(&b, "- %s: %s memory, %g CPU, %s disk, %d processes", p.Name, size(l.Memory), l.CPUs, size(l.Disk), l.Processes)
		if l.Network > 0 {
			fmt.Fprintf(&b, ", %s a second of network", size(l.Network))
		}
		if i == 0 {
			b.WriteString(" (the default)")
		}
		b.WriteByte('\n')
	}
	return answer[plansOutput]{text: b.String(), data: out}, nil
}

func (e *endpoint) listRegions(_ context.Context, r request, _ noInput) (answer[regionsOutput], error) {
	list, err := e.cfg.Pods.Regions(r.actor)
	if err != nil {
		return answer[regionsOutput]{}, err
	}
	out := regionsOutput{Regions: make([]regionOutput, 0, len(list))}
	var b strings.Builder
	for i, g := range list {
		o := regionOutput{Name: g.Name, Kind: g.Kind, Available: g.Err == nil, Default: i == 0}
		if g.Err != nil {
			o.Reason = text.Valid(g.Err.Error())
		}
		out.Regions = append(out.Regions, o)
		fmt.Fprintf(&b, "- %s (%s)", o.Name, o.Kind)
		if o.Default {
			b.WriteString(", the default")
		}
		if o.Reason != "" {
			fmt.Fprintf(&b, ": %s", o.Reason)
		}
		b.WriteByte('\n')
	}
	return answer[regionsOutput]{text: b.String(), data: out}, nil
}
