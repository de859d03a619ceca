package mcp

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A call that has nothing to tell says so now and then; what came too soon after
// something else is told at the latest then.
func TestSignsOfLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var told []string
		r := &reporter{notify: func(step float64, message string) {
			told = append(told, fmt.Sprintf("%v %v %s", time.Since(began), step, message))
		}}
		ctx, cancel := context.WithCancel(t.Context())
		go r.keepAlive(ctx)
		time.Sleep(time.Second)
		r.report("install", []byte("one\n"))
		r.report("install", []byte("two\n"))
		time.Sleep(50 * time.Second)
		cancel()
		synctest.Wait()
		time.Sleep(time.Hour)
		want := []string{"1s 1 one\n", "15s 2 two\n", "30s 3 going on for 30s\n", "45s 4 going on for 45s\n"}
		if !slices.Equal(told, want) {
			t.Errorf("%q, want %q", told, want)
		}
	})
}
