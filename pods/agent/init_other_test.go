//go:build !linux

package agent

func runInitRole() {}
